"""What is fuzzed: plain functions of bytes that fail where a promise does not hold.

None of them needs a fuzzer. `TARGETS` has them by name; `seeds` gives inputs to begin with, out of the golden cases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path

from flatyard import ignition
from flatyard.butane import LocalEntry, LocalFileError, translate
from flatyard.ignition import dataurl
from flatyard.ignition.apply import ApplyError, apply
from flatyard.ignition.dataurl import DataUrlError, GzipError
from flatyard.ignition.fit import UserData, budget, fit
from flatyard.ignition.merge import merge
from flatyard.ignition.parse import parse, read, up_translate
from flatyard.ignition.report import Entry, excerpts
from flatyard.ignition.show import show
from flatyard.ignition.spec import FLATCAR, STABLE, minor
from flatyard.ignition.tree import Node, NodeKind, Tree
from flatyard.ignition.types import Config, Resource
from flatyard.ignition.unitfile import UnitError, parse_unit, sections
from flatyard.ignition.urls import UrlError, check_source, scheme
from flatyard.ignition.validate import validate

TESTS = Path(__file__).resolve().parent.parent
GZIP_MAX = 1 << 20
STUB_MAX = 600
REQUIRED_LATER = frozenset(("source is required", "link target is required", "raid level is required"))
"""What specs 3.1 and 3.3 ask for where older ones do not: a config without it is valid until it is lifted."""


class FilesDir:
    """A small files directory: what `local:` finds in it, without a disk."""

    entries: dict[str, LocalEntry | bytes | str]

    def __init__(self) -> None:
        self.entries = {
            ".": LocalEntry("directory"),
            "f": b"text\n" * 20,
            "x.service": b"[Unit]\nA=b\n",
            "keys": b"ssh-ed25519 AAAA a\n\nssh-rsa BBBB b\r\n",
            "empty": b"",
            "t": LocalEntry("directory"),
            "t/f": b"\x00\xff",
            "t/link": "../f",
            "t/d": LocalEntry("directory"),
            "t/d/run": b"#!/bin/sh\n",
            "pipe": LocalEntry("other"),
        }

    def read(self, path: str) -> bytes:
        found = self.entries.get(path)
        if not isinstance(found, bytes):
            raise LocalFileError(f"open {path}: no such file or directory")
        return found

    def stat(self, path: str) -> LocalEntry:
        found = self.entries.get(path)
        if found is None:
            raise LocalFileError(f"stat {path}: no such file or directory")
        if isinstance(found, LocalEntry):
            return found
        return LocalEntry(
            "file" if isinstance(found, bytes) else "link", 0o755 if path.endswith("run") else 0o644
        )

    lstat = stat

    def readlink(self, path: str) -> str:
        return str(self.entries[path])

    def listdir(self, path: str) -> tuple[str, ...]:
        prefix = "" if path == "." else f"{path}/"
        return tuple(
            {name.removeprefix(prefix).partition("/")[0] for name in self.entries if name.startswith(prefix)}
        )


FILES = FilesDir()
BASE = Tree(
    {
        "/etc": Node(NodeKind.DIRECTORY, 0o755),
        "/etc/passwd": Node(
            NodeKind.FILE, content=b"root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/sh\n"
        ),
        "/etc/group": Node(NodeKind.FILE, content=b"root:x:0:\ncore:x:500:\nwheel:x:10:core\n"),
        "/home": Node(NodeKind.DIRECTORY, 0o755),
        "/home/core": Node(NodeKind.DIRECTORY, 0o700, 500, 500),
        "/bin": Node(NodeKind.LINK, 0o777, target="usr/bin"),
        "/abs": Node(NodeKind.LINK, 0o777, target="/etc"),
        "/loop": Node(NodeKind.LINK, 0o777, target="loop"),
        "/usr": Node(NodeKind.DIRECTORY, 0o755),
        "/usr/bin": Node(NodeKind.DIRECTORY, 0o755),
    }
)
BEFORE = dict(BASE.walk())


# ---- targets


def butane(data: bytes) -> None:
    """A config that Ignition takes as it is, or a last word; each finding has a place that can be shown."""
    made = translate(data, files=FILES)
    assert (made.config is None) == bool(made.error), made.error
    for entry in made.report:
        assert entry.line and entry.column, entry
    _show_findings(made.report, data)
    assert all(str(problem) for problem in made.problems)
    if made.config is None:
        return
    text = made.output()
    again = read(text)
    assert again.is_valid, again.report
    assert again.config is not None and ignition.encode(again.config, newline=True) == text
    assert json.loads(made.output(pretty=True)) == json.loads(text)


def ignition_config(data: bytes) -> None:
    """What is read is written and read again alike; it merges, shows, fits and is applied, or is refused."""
    found = read(data)
    _show_findings(found.report, data)
    for entry in found.report:
        assert entry.line is None or (entry.line >= 0 and (entry.column or 0) >= 0), entry
    read(data, release=FLATCAR)
    if found.config is None:
        assert found.report
        return
    text = ignition.encode(found.config)
    again = read(text)
    assert again.config is not None, again.report
    assert ignition.encode(again.config) == text
    assert again.is_valid == found.is_valid, (again.report, found.report)
    if found.is_valid:
        _live(found.config, text)


def _live(config: Config, text: bytes) -> None:
    assert all(line.isprintable() for line in show(config))
    assert len(budget(config)) <= 10
    _merges(config)
    _fits(config, text)
    with suppress(ApplyError):
        apply(config, BASE.overlay())
    assert dict(BASE.walk()) == BEFORE


def _merges(config: Config) -> None:
    """Nothing laid over a config, and it over nothing, change nothing; itself laid over itself stays readable."""
    nothing = ignition.config(version=config.ignition.version)
    assert merge(config, nothing) == config
    assert merge(nothing, config) == config
    twice = merge(config, config)
    assert parse(ignition.encode(twice)).config is not None
    newest = max(STABLE[5], config.ignition.version, key=minor)
    lifted = up_translate(config, newest)
    assert {entry.message for entry in validate(lifted) if entry.severity == "error"} <= REQUIRED_LATER


def _fits(config: Config, text: bytes) -> None:
    async def stash(payload: bytes, sha512: str) -> str:
        assert payload == text and len(sha512) == 128
        return f"https://example.net/{sha512}"

    assert _now(fit(config, len(text))).data == text
    packed = _now(fit(config, len(text), gzip_allowed=True)).data
    assert packed == text or dataurl.decompress(packed) == text
    small = ignition.encode(Config(ignition=config.ignition))
    if len(text) > STUB_MAX + len(small):
        stub = _now(fit(config, STUB_MAX + len(small), stash=stash))
        assert stub.payload == text and read(stub.data).is_valid


def _now(coroutine: Coroutine[object, object, UserData]) -> UserData:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        assert isinstance(done.value, UserData)
        return done.value
    raise AssertionError("it waits")


def data_url(data: bytes) -> None:
    """Any text is a data URL or is refused; any bytes go into one and come back."""
    text = data.decode("utf-8", "replace")
    for url in (text, f"data:{text}", f"data:,{text}", f"data:;base64,{text}"):
        with suppress(DataUrlError):
            assert isinstance(dataurl.decode(url), bytes)
        with suppress(UrlError):
            scheme(url)
        with suppress(UrlError, DataUrlError):
            check_source(url, 4)
        assert not dataurl.is_base64(url) or dataurl.decode(url) is not None
    with suppress(GzipError):
        dataurl.decompress(data, limit=GZIP_MAX)
    packed = dataurl.inline(data)
    assert packed.source is not None
    inside = dataurl.decode(packed.source)
    assert (dataurl.decompress(inside) if packed.compression else inside) == data
    assert dataurl.decode(dataurl.encode(data)) == data
    assert dataurl.decompress(dataurl.compress(data)) == data


def unit_file(data: bytes) -> None:
    """Any text has assignments, or is refused; the quick look at its sections agrees with the whole one."""
    text = data.decode("utf-8", "replace")
    try:
        options = parse_unit(text)
    except UnitError as problem:
        assert str(problem)
        assert _sections(text) is None, problem
    else:
        assert _sections(text) == frozenset(option.section for option in options)


def _sections(text: str) -> frozenset[str] | None:
    with suppress(UnitError):
        return sections(text)
    return None


def _show_findings(found: tuple[Entry, ...], data: bytes) -> None:
    for entry, block in zip(found, excerpts(found, "x", data), strict=True):
        assert str(entry)
        assert block
        assert "\x1b" not in block


Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {
    "butane": butane,
    "ignition": ignition_config,
    "dataurl": data_url,
    "unitfile": unit_file,
}


# ---- what to begin with


def seeds(target: str) -> Iterator[bytes]:
    """Inputs out of the golden cases."""
    yield from SEEDS[target]()


def _butane_seeds() -> Iterator[bytes]:
    for case in _lines(TESTS / "butane/golden/cases.jsonl"):
        yield str(case["butane"]).encode("utf-8", "surrogateescape")


def _ignition_seeds() -> Iterator[bytes]:
    for path in sorted((TESTS / "ignition/golden").glob("*/*.json")):
        yield path.read_bytes()
    for case in _lines(TESTS / "ignition/golden/apply/cases.jsonl"):
        yield str(case["ign"]).encode()


def _resources() -> Iterator[Resource]:
    for config in _configs():
        yield from (file.contents for file in config.storage.files)


def _configs() -> Iterator[Config]:
    found = map(parse, _ignition_seeds())
    yield from (document.config for document in found if document.config is not None)


def _dataurl_seeds() -> Iterator[bytes]:
    yield from sorted({(resource.source or "").encode() for resource in _resources()})


def _unitfile_seeds() -> Iterator[bytes]:
    texts = {text for config in _configs() for unit in config.systemd.units for text in _texts(unit)}
    yield from sorted(text.encode() for text in texts)


def _texts(unit: ignition.Unit) -> Iterator[str]:
    yield unit.contents or ""
    yield from (dropin.contents or "" for dropin in unit.dropins)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    return map(json.loads, path.read_text().splitlines())


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "butane": _butane_seeds,
    "ignition": _ignition_seeds,
    "dataurl": _dataurl_seeds,
    "unitfile": _unitfile_seeds,
}
