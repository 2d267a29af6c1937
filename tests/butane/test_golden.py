"""What Butane 0.29 makes of 314 documents: the config, every finding with its place, the verdict.

`golden/files` is the files directory, `golden/FILES.json` the modes and links that a checkout does not keep.
Bytes are compared after unpacking (zlib and Go's gzip differ), and literally where nothing is compressed.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from butane.cases import CASES, GOLDEN, GZIP_DECISIONS, unpacked
from flatyard.butane import LocalEntry, LocalFileError, Translation, translate
from flatyard.ignition.parse import parse

MODES: dict[str, str] = json.loads((GOLDEN / "FILES.json").read_text())["modes"]


class Files:
    """The golden files directory, with the modes and links of FILES.json."""

    def __init__(self) -> None:
        root = GOLDEN / "files"
        self.contents = {
            p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()
        }
        parents = {parent.as_posix() for path in self.contents for parent in Path(path).parents}
        self.directories = parents | {"."}

    def read(self, path: str) -> bytes:
        if path in self.directories:
            raise LocalFileError(f"read {shown(path)}: is a directory")
        if path not in self.contents:
            raise LocalFileError(f"open {shown(path)}: no such file or directory")
        return self.contents[path]

    def stat(self, path: str) -> LocalEntry:
        return self.entry("stat", path)

    def lstat(self, path: str) -> LocalEntry:
        return self.entry("lstat", path)

    def entry(self, call: str, path: str) -> LocalEntry:
        if path in self.directories:
            return LocalEntry("directory", 0o755)
        if path not in self.contents:
            raise LocalFileError(f"{call} {shown(path)}: no such file or directory")
        mode = MODES[path]
        return LocalEntry("link", 0o777) if mode.startswith("link:") else LocalEntry("file", int(mode, 8))

    def readlink(self, path: str) -> str:
        return MODES[path].removeprefix("link:")

    def listdir(self, path: str) -> tuple[str, ...]:
        entries = (*self.contents, *self.directories - {"."})
        return tuple(Path(entry).name for entry in entries if Path(entry).parent.as_posix() == path)


def shown(path: str) -> str:
    return "FILESDIR" if path == "." else f"FILESDIR/{path}"


FILES = Files()


def translated(name: str) -> Translation:
    case = CASES[name]
    text = case["butane"].encode("utf-8", "surrogateescape")
    return translate(text, files=FILES if case.get("files_dir", True) else None)


def test_all_cases_are_here():
    assert len(CASES) == 314


@pytest.mark.parametrize("name", CASES)
def test_findings_and_verdict_are_the_reference_s(name: str):
    case, result = CASES[name], translated(name)
    said = [str(entry) for entry in result.report]
    if result.error:
        said.append(f"Error translating config: {result.error}")
    assert Counter("\n".join(said).split("\n")) == Counter(case["stderr"].rstrip("\n").split("\n"))
    assert int(result.config is None) == case["exit"]
    assert int(result.config is None or bool(result.report)) == case["strict_exit"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "ignition" in case])
def test_config_is_the_reference_s(name: str):
    wanted, found = CASES[name]["ignition"], translated(name).output().decode()
    assert unpacked(json.loads(found)) == unpacked(json.loads(wanted))
    if '"gzip"' not in wanted and name not in GZIP_DECISIONS:
        assert found == wanted
    assert len(found) <= len(wanted)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "ignition" in case])
def test_what_is_written_reads_back_as_the_same_config(name: str):
    result = translated(name)
    assert parse(result.output()).config == result.config
