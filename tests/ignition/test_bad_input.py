"""Any bytes at all as a config: findings with places, never a traceback, never a wait without end, never all memory.

What once took time or memory without bound is here at a size where it would run into the watchdog again, which is
set low for that: thirty times what they take.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

import pytest
from click.testing import CliRunner

from flatyard import ignition
from flatyard.butane import translate
from flatyard.cli.main import cli
from flatyard.ignition import dataurl, fetch, jsontext, resolve, tree
from flatyard.ignition.apply import ApplyError, apply
from flatyard.ignition.excerpts import json_excerpts
from flatyard.ignition.merge import merge
from flatyard.ignition.parse import Document, read
from flatyard.ignition.report import error, excerpts
from flatyard.ignition.show import show
from flatyard.ignition.tree import Node, NodeKind, Tree
from flatyard.ignition.types import Config, HttpHeader, KernelArguments, Partition, Resource
from flatyard.ignition.unitfile import parse_unit
from flatyard.ignition.validate import validate

ROOT = Path(__file__).resolve().parent.parent.parent
MB = 1 << 20
VERSION = '"ignition":{"version":"3.4.0"}'


def document(rest: str) -> bytes:
    """A config with what follows its version."""
    return f"{{{VERSION},{rest}}}".encode()


def outcome(data: bytes) -> Document:
    """The reading, after a look at what every one keeps to."""
    found = read(data)
    assert found.config is not None or found.report
    for entry in found.report:
        assert entry.message and str(entry)
        assert entry.line is None or (entry.line >= 0 and entry.column is not None and entry.column >= 0)
    return found


# ---- what is no JSON


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "error: not a config (empty)"),
        (b" ", "error at line 0 col 0: unexpected end of JSON input"),
        (b"\0", "error at line 0 col 0: invalid character '\\x00' looking for beginning of value"),
        (b"\xff\xfe{\0}\0", "error at line 1 col 2: invalid character 'ÿ' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "error at line 1 col 2: invalid character 'ï' looking for beginning of value"),
        (
            '{"a":1}'.encode("utf-32"),
            "error at line 1 col 2: invalid character 'ÿ' looking for beginning of value",
        ),
        (b'{"a":"\t"}', "error at line 1 col 8: invalid character '\\x09' in string literal"),
        (b'{"a":01}', "error at line 1 col 8: invalid character '1' after object key:value pair"),
        (b'{"a":NaN}', "error at line 1 col 7: invalid character 'N' looking for beginning of value"),
        (b'{"a":"\\ud800"}', "error: invalid config version (couldn't parse)"),
        (b"[" * 100_000, "error at line 1 col 102: exceeded max depth"),
        (b'{"a":' * 100_000, "error at line 1 col 506: exceeded max depth"),
        (b"[" * 10 * MB, "error at line 1 col 1000001: more than 1000000 values"),
    ],
)
def test_what_is_no_json_is_one_finding_with_its_place(data, said):
    found = outcome(data)
    assert [str(entry) for entry in found.report] == [said]
    assert not found.is_valid


def test_a_wrong_type_far_down_is_a_finding():
    """The place of a value below 100 levels cannot be said: this was a traceback."""
    found = outcome(document('"storage":' + "[" * 300 + "]" * 300))
    assert [str(entry) for entry in found.report] == ["error at line 1 col 143: exceeded max depth"]


def test_an_unknown_key_far_down_is_a_finding():
    found = outcome(document('"x":' + "[" * 300 + "]" * 300))
    assert [entry.message for entry in found.report] == ["unused key x", "exceeded max depth"]


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 5000, "1e999999", "1." + "1" * 5000, "-0", "1e2"])
def test_numbers_of_any_size_are_refused_where_a_mode_is_wanted(number):
    assert (
        not outcome(document(f'"storage":{{"files":[{{"path":"/a","mode":{number}}}]}}')).is_valid
        or number == "-0"
    )


def test_half_a_surrogate_pair_reads_as_go_reads_it():
    found = outcome(document('"storage":{"files":[{"path":"/\\ud800x\\udc00\\ud83d\\ude00"}]}'))
    assert found.config is not None
    assert found.config.storage.files[0].path == "/\ufffdx\ufffd😀"
    assert ignition.encode(found.config)


def test_half_a_surrogate_pair_in_a_key_is_named():
    (entry,) = outcome(document('"\\ud800":1')).report
    assert entry.message == "unused key \ud800"


# ---- as long as the text is long, not its square


@pytest.mark.timeout(30)
@pytest.mark.parametrize("count", [30_000, pytest.param(100_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("break_", ["", "\n"])
def test_very_many_findings_each_find_their_line(break_, count):
    """For each, the text was counted from its beginning, and in one long line searched back to it."""
    found = outcome(document(f",{break_}".join(f'"k{n}":1' for n in range(count))))
    assert len(found.report) == count
    last = found.report[-1]
    assert (last.line, last.message) == (count if break_ else 1, f"unused key k{count - 1}")


@pytest.mark.timeout(30)
def test_very_many_findings_in_one_long_line_are_shown_in_time():
    """Each decoded the line anew; after the first thousand nobody reads excerpts."""
    line = ", ".join(f"k{n}: 1" for n in range(50_000)).encode()
    found = [
        replace(error(f"no k{n}"), line=1, column=1 + line.index(b"k%d:" % n)) for n in range(0, 50_000, 10)
    ]
    shown = list(excerpts(found, "x", line))
    assert "-->" in shown[999] and shown[1000] == f"error at line 1 col {found[1000].column}: no k10000"


def test_a_text_of_many_megabytes_is_not_cut_into_lines():
    (shown,) = excerpts([replace(error("no"), line=3, column=1)], "x", b"a\n" * (9 * MB))
    assert shown == "error at line 3 col 1: no"


@pytest.mark.parametrize(
    "name", ["a@" * MB + ".service", "@" * MB, "a" * MB + "@b.service", "a@" * MB, "a@b.service\n" * 100_000]
)
def test_a_unit_s_long_name_is_looked_at_once(name):
    """Each @ was tried as the one before the instance."""
    config = ignition.config(
        units=[ignition.unit(name, enabled=True), ignition.unit("a@.service", "[Unit]\nA=b\n")]
    )
    assert isinstance(validate(config), tuple)


def test_an_instance_is_found_behind_the_first_at_sign():
    def warned(name: str) -> bool:
        units = [ignition.unit(name, enabled=True), ignition.unit("a@.service", "[Unit]\nA=b\n")]
        return any("template unit" in entry.message for entry in validate(ignition.config(units=units)))

    assert [
        warned(name) for name in ("a@b.service", "a@b@c.service", "a@@.service", "a@.service", "a.service")
    ] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_lines_just_short_of_the_limit_are_read_in_time():
    """Each place in such a line was tried as the beginning of a line that is too long."""
    text = ("A=" + "x" * 2045 + "\n") * 10_000
    assert len(parse_unit(f"[Unit]\n{text}")) == 10_000


def test_partitions_are_compared_in_time():
    apart = tuple(Partition(number=n + 1, start_mib=10 * n + 1, size_mib=5) for n in range(50_000))
    disk = ignition.Disk("/dev/a", apart)

    def findings(*partitions: Partition) -> list[str]:
        storage = ignition.Storage(disks=(replace(disk, partitions=partitions),))
        config = replace(ignition.config(), storage=storage)
        return [str(entry) for entry in validate(config)]

    assert findings(*apart) == []
    last = Partition(number=60_000, start_mib=7, size_mib=2)
    assert findings(*apart, replace(last, size_mib=500_000)) == [
        "error at $.storage.disks.0.partitions.50000: partitions overlap"
    ]
    assert findings(*apart, last) == []


@pytest.mark.timeout(30)
def test_nodes_under_very_many_links_are_told_in_time_and_not_all():
    links = ",".join('{"path":"/a","target":"b"}' for _ in range(20_000))
    files = ",".join(f'{{"path":"/a/{n}"}}' for n in range(20_000))
    found = outcome(document(f'"storage":{{"links":[{links}],"files":[{files}]}}'))
    words = [entry.message for entry in found.report]
    assert words.count("file path includes link in config") == 10_000
    assert words.count("duplicate entry defined") == 19_999


def test_kernel_arguments_that_change_sides_are_merged_in_time():
    names = tuple(f"a{n}" for n in range(100_000))
    above, below = (
        replace(ignition.config(), kernel_arguments=arguments)
        for arguments in (KernelArguments(should_exist=names), KernelArguments(should_not_exist=names))
    )
    assert merge(above, below).kernel_arguments == KernelArguments(should_not_exist=names)


URLS = {
    "host": "https://" + "a%80" * (2 * MB),
    "user": "https://" + "a@" * (2 * MB),
    "path": "https://a/" + "%41" * (2 * MB),
    "parameters": "data:text/plain" + ";a=b" * (MB // 2),
    "quoted parameter": 'data:text/plain;a="' + "\\x" * (2 * MB),
    "escapes": "data:," + "%41" * MB,
    "base64": "data:;base64," + "QUFB\n" * MB,
    "query": "s3://a/b?" + "versionId=&" * (MB // 4),
    "arn": "arn:" + ":" * MB,
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", URLS)
def test_a_url_of_megabytes_is_judged(name):
    source = json.dumps(URLS[name])
    outcome(document(f'"storage":{{"files":[{{"path":"/a","contents":{{"source":{source}}}}}]}}'))


def test_a_long_text_is_escaped_piece_by_piece():
    """All at once it took ten times its memory."""
    data = b"ab\n%~" * MB
    assert dataurl.escape(data) == "ab%0A%25~" * MB


def test_a_hundred_megabytes_are_no_config():
    assert outcome(b" " * (100 * MB)).report[0].message == "not a config (longer than 16777216 bytes)"


def test_lists_of_nothing_are_counted_before_they_are_made():
    """15 MB of empty lists would be 300 of Python's, and 2 GB of places."""
    (entry,) = outcome(document('"x":[' + "[]," * (5 * MB) + "[]]")).report
    assert entry.message == "more than 1000000 values"


def test_the_places_of_what_is_too_many_are_not_looked_for(monkeypatch):
    """The excerpt of the refusal read all of the text that was refused for its size."""
    monkeypatch.setattr(jsontext, "MOST_VALUES", 100)
    monkeypatch.setattr(jsontext, "scan", None)
    data = document('"x":[' + "[]," * 200 + "[]]")
    (shown,) = json_excerpts(outcome(data).report, "x.ign", data)
    assert "^ more than 100 values" in shown


def test_commas_in_a_string_are_no_values():
    found = outcome(
        document('"storage":{"files":[{"path":"/a","contents":{"source":"data:,%s"}}]}' % ("," * 2 * MB))
    )
    assert found.is_valid


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", [b"\n", b"[]", b'"', b"{", b"1,", b'"a":1,', b"null,", b"\xff"])
@pytest.mark.parametrize("size", [7 * MB, pytest.param(16 * MB, marks=pytest.mark.long)])
def test_as_much_of_anything_as_is_read(piece, size):
    for data in (
        piece * (size // len(piece)),
        document('"x":[' + (piece * ((size - 100) // len(piece))).decode("latin-1")),
    ):
        assert not outcome(data).is_valid


# ---- what unpacks


@cache
def bomb(size: int) -> Resource:
    packed = gzip.compress(b"\0" * size, mtime=0)
    return Resource("gzip", (), "data:;base64," + b64encode(packed).decode())


def test_a_gzip_bomb_is_neither_shown_nor_applied(monkeypatch):
    monkeypatch.setattr(fetch, "INLINE_LIMIT", 50 * MB)
    config = ignition.config(files=[replace(ignition.file("/a", ""), contents=bomb(70 * MB))])
    text = ignition.encode(config)
    assert len(text) < MB and outcome(text).is_valid
    assert any("cannot be read: gzip: more data than allowed" in line for line in show(config))
    with pytest.raises(ApplyError, match="/a: gzip: more data than allowed"):
        apply(config, Tree())


def test_many_small_bombs_fill_a_tree_and_no_more(monkeypatch):
    monkeypatch.setattr(tree, "SPACE", 3 * MB)
    files = [replace(ignition.file(f"/{n}", ""), contents=bomb(MB)) for n in range(4)]
    root = Tree()
    with pytest.raises(ApplyError, match="/3: no space left on device"):
        apply(ignition.config(files=files), root)
    appended = replace(ignition.file("/a", ""), append=(bomb(MB), bomb(MB), bomb(MB), bomb(MB)))
    with pytest.raises(ApplyError, match="/a: no space left on device"):
        apply(ignition.config(files=[appended]), Tree())


def test_butane_takes_what_is_called_gzip_as_it_is():
    source = bomb(50 * MB).source
    contents = f"{{compression: gzip, source: '{source}'}}"
    made = translate(
        f"variant: flatcar\nversion: 1.1.0\nstorage: {{files: [{{path: /a, contents: {contents}}}]}}\n"
    )
    assert made.config is not None and made.config.storage.files[0].contents.source == source


class Nowhere:
    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        raise fetch.FetchError("resource not found")


def merging(inner: bytes, count: int) -> bytes:
    """A config that merges so many like the inner one, each in a `data:` URL."""
    merged = tuple(Resource(source=dataurl.encode(inner + b"\n" * n)) for n in range(count))
    about = replace(ignition.config().ignition, config=ignition.ConfigRefs(merged))
    return ignition.encode(Config(ignition=about))


def test_configs_inside_configs_are_counted():
    """Inside each other and compressed, a few kilobytes of them were read a million million times."""
    some, many = (merging(merging(ignition.encode(ignition.config()), n), n) for n in (10, 40))
    assert asyncio.run(resolve.resolve(some, Nowhere())).report == ()
    with pytest.raises(resolve.InvalidConfig, match="more than 1000 configs refer to each other"):
        asyncio.run(resolve.resolve(many, Nowhere()))


# ---- a root


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/" + "a/" * 5000 + "b", "file name too long"),
        ("/" + "a" * 256, "file name too long"),
        ("/a\0b", "invalid argument"),
    ],
)
def test_paths_that_no_system_call_takes_are_refused(path, why):
    for config in (
        ignition.config(files=[ignition.file(path, "x")]),
        ignition.config(directories=[ignition.directory(path)]),
        ignition.config(links=[ignition.link(path, "x")]),
        ignition.config(links=[ignition.link("/l", path)]),
        ignition.config(links=[ignition.link("/l", path, hard=True)]),
    ):
        with pytest.raises(ApplyError, match=why):
            apply(config, Tree())


def test_a_tree_may_be_deeper_than_python_s_stack():
    path = "/a" * 2000
    root = Tree()
    apply(ignition.config(files=[ignition.file(path, "x")]), root)
    assert root.text(path) == "x"
    root.remove("/a")
    assert root.listdir("/") == ("etc",)


def test_very_many_units_that_are_turned_off():
    """For each, all of the unit directory was looked through for links to it."""
    units = [
        ignition.unit(f"u{n}.service", "[Install]\nWantedBy=a.target\n", enabled=False) for n in range(5000)
    ]
    root = Tree()
    apply(ignition.config(units=units), root)
    assert root.get("/etc/systemd/system/u4999.service") is not None


def test_users_without_a_free_number_are_refused():
    """This was a StopIteration."""
    root = Tree(
        {
            "/etc": Node(NodeKind.DIRECTORY, 0o755),
            "/etc/login.defs": Node(
                NodeKind.FILE, content=b"UID_MIN 1000\nUID_MAX 1001\nGID_MIN 1000\nGID_MAX 1001\n"
            ),
        }
    )
    users = [ignition.user(name) for name in ("a", "b", "c")]
    with pytest.raises(ApplyError, match=r"c: useradd: no UID is free \(exit status 4\)"):
        apply(ignition.config(users=users), root)


# ---- as commands


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "NULs": b"\0" * 1000,
    "UTF-16": f"{{{VERSION}}}".encode("utf-16"),
    "no UTF-8": document('"x":"') + b"\xff",
    "deep lists": b"[" * 100_000,
    "deep unknown": document('"x":' + "[" * 300 + "]" * 300),
    "deep wrong": document('"storage":' + "[" * 300 + "]" * 300),
    "escapes for a terminal": document(
        '"\\u001b[31m\\u009b1m":"\\u001b]0;x\\u0007","storage":{"files":[{"path":"\\u001b[2J"}]}'
    ),
    "half a surrogate pair": document('"\\ud800":1,"passwd":{"users":[{"name":"\\ud800"}]}'),
    "many findings": document(",".join(f'"k{n}":1' for n in range(3000))),
    "a wrong base64": document('"storage":{"files":[{"path":"/a","contents":{"source":"data:;base64,a"}}]}'),
    "a wrong gzip": document(
        '"storage":{"files":[{"path":"/a","contents":{"source":"data:,a","compression":"gzip"}}]}'
    ),
    "a long path": document(json.dumps({"storage": {"files": [{"path": "/a" * 5000}]}})[1:-1]),
    "a NUL in a path": document(
        '"storage":{"files":[{"path":"/a\\u0000"}],"links":[{"path":"/b","target":"\\u0000"}]}'
    ),
    "an odd user": document('"passwd":{"users":[{"name":"a:b\\nroot","groups":["x"]}]}'),
    "out of the root": document(
        '"storage":{"links":[{"path":"/a","target":"/b"},{"path":"/b/c","target":"../../../.."}]}'
    ),
}
COMMANDS = (["validate"], ["show"], ["fit", "--limit", "100"], ["merge", "FILE"], ["apply"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", HOSTILE)
def test_every_command_ends_in_a_sentence(tmp_path, name, command):
    file, root = tmp_path / "x.ign", tmp_path / "root"
    file.write_bytes(HOSTILE[name])
    root.mkdir()
    verb, *rest = [str(file) if word == "FILE" else word for word in command]
    more = [str(root)] if verb == "apply" else []
    done = CliRunner().invoke(cli, ["ignition", verb, *rest, str(file), *more], prog_name="flatyard")
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.exit_code in (0, 1)
    assert done.exit_code == 0 or done.output.strip()
    assert "\x1b" not in done.output and "\x9b" not in done.output
    assert [path.name for path in tmp_path.iterdir() if path not in (file, root)] == []


def run(*args: str, text: bytes, megabytes: int) -> subprocess.CompletedProcess[bytes]:
    """The command as a process that gets no more address space than this."""

    def confine() -> None:
        setrlimit(RLIMIT_AS, (megabytes * MB, megabytes * MB))

    command = [sys.executable, "-m", "flatyard", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, input=text, capture_output=True, check=False, env=env, preexec_fn=confine)


def packed(size: int, count: int) -> bytes:
    files = [replace(ignition.file(f"/{n}", ""), contents=bomb(size * MB)) for n in range(count)]
    return ignition.encode(ignition.config(files=files))


LARGE: dict[str, tuple[list[str], Callable[[], bytes], int]] = {
    "bombs validated": (["validate", "-"], lambda: packed(200, 3), 0),
    "bombs shown": (["show", "-"], lambda: packed(200, 3), 0),
    "lists of nothing": (["validate", "-"], lambda: document('"x":[' + "[]," * (5 * MB) + "[]]"), 1),
    "an endless file": (["validate", "/dev/zero"], lambda: b"", 1),
    "a long text": (["show", "-"], lambda: document('"x":"' + "\\n" * (7 * MB) + '"'), 0),
}


@pytest.mark.parametrize("name", LARGE)
def test_commands_keep_to_their_memory(name):
    args, make, code = LARGE[name]
    done = run("ignition", *args, text=make(), megabytes=512)
    assert done.returncode == code, done.stderr[-2000:]
    assert b"Traceback" not in done.stderr


@pytest.mark.long
def test_apply_keeps_to_its_memory(tmp_path):
    """A file of 300 MB is refused, one of 200 is written. On demand, for what it writes to the disk."""
    done = run("ignition", "apply", "-", str(tmp_path), text=packed(200, 1), megabytes=1024)
    assert (done.returncode, (tmp_path / "0").stat().st_size) == (0, 200 * MB)
    other = tmp_path / "other"
    other.mkdir()
    done = run("ignition", "apply", "-", str(other), text=packed(300, 1), megabytes=1024)
    assert done.returncode == 1
    assert b"more data than allowed" in done.stderr and b"Traceback" not in done.stderr
