"""Any bytes at all: a config, or findings with places and a last word; never a traceback, never a wait without end.

What once took time or memory without bound is here at a size where it would run into the watchdog again, which is
set low for that: thirty times what they take.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

import pytest
from click.testing import CliRunner

from flatyard.butane import LocalEntry, LocalFileError, Translation, syntax, translate
from flatyard.butane.files import FilesDir
from flatyard.cli.files_dir import DiskFiles
from flatyard.cli.main import cli

HEAD = "variant: flatcar\nversion: 1.1.0\n"
MB = 1 << 20
ROOT = Path(__file__).resolve().parent.parent.parent


def outcome(text: str | bytes, files: FilesDir | None = None) -> Translation:
    """The translation, after a look at what every one of them keeps to."""
    made = translate(text, files=files)
    assert (made.config is None) == bool(made.error)
    for entry in made.report:
        assert entry.line is not None and entry.line >= 1 and entry.column is not None and entry.column >= 1
        assert str(entry)
    assert all(str(problem) for problem in made.problems)
    return made


def file_with(contents: str, field: str = "inline") -> str:
    return f"{HEAD}storage:\n  files:\n    - path: /a\n      contents:\n        {field}: {contents}\n"


# ---- what is no text


CONTROLS = [chr(code) for code in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, *range(0x80, 0xA0))]
NEXT_LINE = "\x85"


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: f"U+{ord(c):04X}")
def test_a_control_character_is_refused_but_for_the_line_end_among_them(control):
    made = outcome(f"{HEAD}a: x{control}y\n")
    if control == NEXT_LINE:
        assert made.error == "" or "yaml: " in made.error
    else:
        assert made.error == "Error unmarshaling yaml: yaml: control characters are not allowed"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe" + HEAD.encode("utf-16-le"), "invalid leading UTF-8 octet"),
        (b"\xfe\xff" + HEAD.encode("utf-16-be"), "invalid leading UTF-8 octet"),
        (HEAD.encode("utf-32"), "invalid leading UTF-8 octet"),
        (HEAD.encode("utf-16-le"), "control characters are not allowed"),
        (b"a: \xc3", "incomplete UTF-8 octet sequence"),
        (b"a: \xc3\x28", "invalid trailing UTF-8 octet"),
        (b"a: \xed\xa0\x80", "invalid trailing UTF-8 octet"),
        (b"a: \xf4\x90\x80\x80", "invalid trailing UTF-8 octet"),
        (b"\0", "control characters are not allowed"),
        ("a: \ud800", "a lone surrogate is not text"),
    ],
)
def test_what_is_not_utf_8_is_said(data, why):
    assert outcome(data).error == f"Error unmarshaling yaml: yaml: {why}"


def test_a_byte_order_mark_and_every_line_end_are_taken():
    for text in (f"\ufeff{HEAD}", HEAD.replace("\n", "\r"), HEAD.replace("\n", "\r\n")):
        assert outcome(text).error == ""


def test_escapes_in_quotes_reach_the_config_and_a_lone_surrogate_is_refused():
    assert outcome(file_with('"\\0\\e\\x9b\\uFFFE"')).error == ""
    assert "yaml: " in outcome(file_with('"\\uD800"')).error


# ---- what is no Butane


@pytest.mark.parametrize(
    "text",
    [
        "- variant: flatcar",
        "flatcar",
        "[[[]]]",
        f"{HEAD}storage: [",
        f"{HEAD}\tstorage:\n",
        f"{HEAD}storage: &a\n  files: *a\n",
        f"{HEAD}storage: *nobody\n",
        f"{HEAD}? [a, b]\n: c\n",
        f"{HEAD}? {{a: b}}\n: c\n",
        f"{HEAD}<<: 3\n",
        f"{HEAD}storage: {{<<: [1, 2]}}\n",
        f"{HEAD}variant: flatcar\n",
        f"{HEAD}storage: !!python/object/apply:os.system [id]\n",
        f"{HEAD}storage: {{files: [{{path: !!binary '~'}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: !!binary /w==}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: /a, mode: !!timestamp 2001-01-01}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: /a, mode: {'9' * 5000}}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: /a, mode: 1e999999999}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: /a, mode: 0x{'f' * 5000}}}]}}\n",
        f"{HEAD}storage: {{files: [{{path: /a, mode: .inf}}]}}\n",
        "%YAML 1.2\n---\na: b\n",
        "%TAG ! tag:x,2000:\n%TAG ! tag:x,2000:\n---\na: b\n",
        "variant: flatcar\nversion: 1.1.0.0\n",
        "variant: [flatcar]\nversion: 1.1.0\n",
        "variant: flatcar\nversion: {}\n",
    ],
)
def test_what_is_no_butane_ends_in_a_reason(text):
    assert outcome(text).error


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}storage: !!python/object:os.system {{}}\n",
        f"{HEAD}a: !!python/name:os.system x\n",
        f"{HEAD}a: !<x> b\n",
        f"{HEAD}---\n[ this is never read",
        f"{HEAD}...\n%TAG ! x\n",
    ],
)
def test_tags_make_nothing_and_only_the_first_document_counts(text):
    assert outcome(text).error == ""


# ---- bombs


def chain(first: str, rest: str, depth: int) -> str:
    """A line `a0`, and lines that name the one before: `rest` has `{this}` and `{last}`."""
    lines = [first, *(rest.format(this=n, last=n - 1) for n in range(1, depth))]
    return HEAD + "\n".join(lines) + "\n"


TEN = "a{this}: &a{this} [" + ", ".join(["*a{last}"] * 10) + "]"
LIMITS = {
    "laughs": (chain("a0: &a0 [x]", TEN, 40), "more than 1000000 values"),
    "laughs by merging": (
        chain("a0: &a0 {x: 1}", "a{this}: &a{this} {{<<: [" + ", ".join(["*a{last}"] * 10) + "]}}", 40),
        "more than 1000000 values",
    ),
    "quadratic": (
        HEAD + f"a: &a [{'x,' * 2000}]\nb: [{'*a,' * 1000}]",
        "more than 1000000 values",
    ),
    "deep by aliases": (
        chain("a0: &a0 []", "a{this}: &a{this} [*a{last}]", 200),
        "nested deeper than 100 levels",
    ),
    "deep by merging": (
        chain("a0: &a0 {x: 1}", "a{this}: &a{this} {{<<: *a{last}}}", 200),
        "nested deeper than 100 levels",
    ),
    "lists": ("[" * 100_000, "nested deeper than 100 levels"),
    "maps": ("{a: " * 100_000, "nested deeper than 100 levels"),
    "keys": ("{? " * 100_000, "nested deeper than 100 levels"),
    "dashes": ("- " * 100_000, "nested deeper than 100 levels"),
    "blocks": ("\n".join(" " * n + "a:" for n in range(300)), "nested deeper than 100 levels"),
    "documents": ("--- a\n" * 100_000, "cannot unmarshal !!str `a`"),
    "directives": (
        "".join(f"%TAG !a{n}! tag:x,2000:\n" for n in range(200_000)),
        "more than 1000 %TAG directives",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_bomb_is_defused_by_a_limit(name):
    text, why = LIMITS[name]
    made = outcome(text)
    assert made.config is None
    assert why in made.error


LOWERED = 100_000


@pytest.mark.parametrize("limit", [LOWERED, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "make",
    [lambda n: HEAD + f"a: &a x\nb: [{'*a,' * n}]", lambda n: HEAD + "a: b\n" * n],
    ids=["aliases", "pairs"],
)
def test_what_is_counted_one_by_one_is_refused_at_the_limit(make, limit, monkeypatch):
    """With a lowered limit, since counting to the real one takes seconds; the bombs above meet the real one."""
    if limit == LOWERED:
        monkeypatch.setattr(syntax, "LIMITS", replace(syntax.LIMITS, nodes=LOWERED))
    assert f"more than {limit} values" in outcome(make(limit)).error


def test_merge_keys_as_deep_as_allowed_are_read():
    text = chain("a0: &a0 {files: []}", "a{this}: &a{this} {{<<: *a{last}}}", 95) + "storage: {<<: *a94}\n"
    assert outcome(text).error == ""


# ---- as long as the text is long, not its square


@pytest.mark.timeout(30)
def test_a_key_that_is_repeated_very_often_is_said_a_hundred_times():
    """Found with a few megabytes of `a: b`: every pair of them was reported, which is half of a square."""
    made = outcome(HEAD + "a: b\n" * 40_000)
    assert made.error.count("already defined at line 3") == 100


@pytest.mark.timeout(30)
def test_very_many_unknown_keys_each_find_their_place():
    """Each looked through all of the mapping for its line."""
    count = 40_000
    made = outcome(HEAD + "".join(f"k{n}: 1\n" for n in range(count)))
    assert len(made.report) == count
    assert (
        str(made.report[-1]) == f"warning at $.k{count - 1}, line {count + 2} col 1: unused key k{count - 1}"
    )


@pytest.mark.timeout(30)
def test_very_many_mount_units_beside_local_units():
    """For each unit, all the others were looked through for what came from a local file."""
    count = 5000
    units = "\n".join(f"    - {{name: a{n}.service, contents_local: u}}" for n in range(count))
    filesystems = "\n".join(
        f"    - {{device: /d{n}, path: /p{n}, format: ext4, with_mount_unit: true}}" for n in range(count)
    )
    text = f"{HEAD}storage:\n  filesystems:\n{filesystems}\nsystemd:\n  units:\n{units}\n"
    made = outcome(text, Files({"u": b"[Unit]"}))
    assert made.config is not None and len(made.config.systemd.units) == 2 * count


def test_a_mount_unit_for_a_path_of_a_megabyte():
    path = "/a-" * (MB // 3)
    text = (
        f"{HEAD}storage: {{filesystems: [{{device: /d, path: {path}, format: ext4, with_mount_unit: true}}]}}"
    )
    assert "line too long" in str(outcome(text).report[0])


LONG = {
    "one scalar": (lambda n: HEAD + "a: " + "x" * (n - len(HEAD) - 3), ""),
    "lines": (lambda n: "hello world\n" * (n // 12), "cannot unmarshal !!str"),
    "blanks": (lambda n: " " * n, "must be specified"),
    "one more than allowed": (lambda n: " " * (100 * MB + 1), "the text is longer than 104857600 bytes"),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("size", [10, pytest.param(100, marks=pytest.mark.long)])
def test_megabytes_of_text(name, size):
    make, why = LONG[name]
    made = outcome(make(size * MB))
    assert why in made.error
    assert bool(made.error) == bool(why)


def test_a_long_inline_text_stays_what_it_is():
    text = "ab\n" * (3 * MB)
    made = outcome(file_with('"' + text.replace("\n", "\\n") + '"'))
    assert made.config is not None and len(made.output()) < len(text) / 100


# ---- local files


class Files:
    """A files directory in memory, with the odd entry that only an operating system could make."""

    def __init__(self, files: dict[str, bytes], others: dict[str, str] | None = None) -> None:
        self.files = files
        self.others = others or {}

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise LocalFileError(f"open {path}: no such file or directory")
        return self.files[path]

    def stat(self, path: str) -> LocalEntry:
        kind = self.others.get(path, "file" if path in self.files else "directory")
        return LocalEntry(kind)

    lstat = stat

    def readlink(self, path: str) -> str:
        raise LocalFileError(f"readlink {path}: invalid argument")

    def listdir(self, path: str) -> tuple[str, ...]:
        return tuple({*self.files, *self.others}) if path == "." else ()


@pytest.mark.parametrize("local", ["..", "../x", "a/../../x", "/../x", "a/b/../../../x", ".././x", "/.."])
def test_no_spelling_leads_out_of_the_files_directory(local):
    for text in (file_with(local, "local"), f"{HEAD}storage: {{trees: [{{local: {local}}}]}}\n"):
        (entry,) = outcome(text, Files({})).report
        assert entry.message == "local file path traverses outside the files directory"


def test_a_file_that_vanishes_between_listing_and_reading_is_an_error_at_the_tree(tmp_path):
    class Vanishing(DiskFiles):
        __slots__ = ()

        def lstat(self, path: str) -> LocalEntry:
            found = DiskFiles.lstat(self, path)
            (self.root / path).unlink()
            return found

    (tmp_path / "x").touch()
    (entry,) = outcome(f"{HEAD}storage: {{trees: [{{local: .}}]}}\n", Vanishing(tmp_path)).report
    assert str(entry) == (
        f"error at $.storage.trees.0, line 3 col 19: open {tmp_path}/x: no such file or directory"
    )


def test_what_is_no_file_in_a_tree_is_an_error_and_is_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("socket")
    made = outcome(f"{HEAD}storage: {{trees: [{{local: .}}]}}\n", DiskFiles(tmp_path))
    assert [e.message for e in made.report] == ["trees may only contain files, directories, and symlinks"] * 2


@pytest.mark.parametrize("name", ["pipe", "loop", ".", "none", "huge", "device"])
def test_what_cannot_be_read_is_an_error_at_its_place(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    (entry,) = outcome(file_with(name, "local"), DiskFiles(tmp_path)).report
    assert (entry.path[-1], entry.line) == ("local", 7)


def test_links_of_a_tree_are_copied_and_never_followed(tmp_path):
    (tmp_path / "out").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "up").symlink_to("..")
    made = outcome(f"{HEAD}storage: {{trees: [{{local: .}}]}}\n", DiskFiles(tmp_path))
    assert made.config is not None
    assert {link.path: link.target for link in made.config.storage.links} == {
        "/out": "/etc/passwd",
        "/loop": "loop",
        "/up": "..",
    }


def test_a_tree_deeper_than_any_is_an_error(tmp_path):
    folder = tmp_path
    for _ in range(150):
        folder /= "d"
    folder.mkdir(parents=True)
    (folder / "f").touch()
    (entry,) = outcome(f"{HEAD}storage: {{trees: [{{local: .}}]}}\n", DiskFiles(tmp_path)).report
    assert "nested deeper than 100 levels" in entry.message


def test_a_local_path_with_characters_that_no_path_has(tmp_path):
    for local in ('"a\\0b"', "x" * 5000, '"' + "../" * 2000 + '"'):
        made = outcome(file_with(local, "local"), DiskFiles(tmp_path))
        assert len(made.report) == 1


# ---- as a command


@pytest.mark.parametrize(
    "text", [b"\xff", b"\0", b"a: \x1b", b"- " * 1000, b'"\\e[31m": 1', b'version: "\\e[2J"']
)
@pytest.mark.parametrize("options", [[], ["--raw-errors"], ["--check", "--strict", "--pretty"]])
def test_the_command_ends_in_a_sentence_that_steers_no_terminal(text, options):
    done = CliRunner().invoke(cli, ["butane", *options], input=text, prog_name="flatyard")
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1
    assert done.stderr.strip()
    assert "\x1b" not in done.output


@pytest.mark.parametrize("args", [["/dev/zero"], ["-"]])
def test_the_command_keeps_to_its_memory(args):
    """Of an endless file it reads 100 MB, and of as many lines it makes no list."""
    command = [sys.executable, "-m", "flatyard", "butane", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command,
        input=b"\n" * 100 * MB,
        capture_output=True,
        check=False,
        env=env,
        preexec_fn=lambda: setrlimit(RLIMIT_AS, (800 * MB, 800 * MB)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error translating config: ")
