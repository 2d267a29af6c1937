"""`flatyard butane` as a user of the reference's command meets it: output, findings, exit codes, files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from butane.cases import CASES, GZIP_DECISIONS, unpacked
from flatyard.butane import LocalEntry, LocalFileError
from flatyard.cli.files_dir import DiskFiles
from flatyard.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent.parent
UNORDERED = {"unused-v11-tree-user", "unused-camel"}
"""The reference's order of unused keys varies from run to run."""
EXAMPLE = "examples/kubernetes-sysext.bu"
WARNS = "variant: flatcar\nversion: 1.1.0\nextra: 1\n"
FAILS = "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: rel\n"
GOOD = "variant: flatcar\nversion: 1.1.0\n"
MINIMAL = '{"ignition":{"version":"3.4.0"}}\n'

Run = Callable[..., Result]


@pytest.fixture
def butane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `flatyard butane` in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    return lambda *args, **more: CliRunner().invoke(cli, ["butane", *args], prog_name="flatyard", **more)


def options(name: str, files_dir: Path) -> list[str]:
    """Writes a case as a file; the arguments that the reference was called with."""
    case = CASES[name]
    Path(f"{name}.bu").write_bytes(case["butane"].encode("utf-8", "surrogateescape"))
    return [f"{name}.bu", *(["-d", str(files_dir)] if case.get("files_dir", True) else [])]


def blocks(report: str) -> list[str]:
    """The findings of a report and its last word."""
    return [block.strip("\n") for block in re.split(r"\n(?=\n|Error )", report)]


# ---- what the reference does


@pytest.mark.parametrize("name", CASES)
def test_raw_findings_output_and_exit_code_are_the_reference_s(name, butane, files_dir):
    case, given = CASES[name], options(name, files_dir)
    done = butane(*given, "--raw-errors")
    said = done.stderr.replace(str(files_dir), "FILESDIR")
    assert Counter(said.split("\n")) == Counter(case["stderr"].split("\n"))
    assert done.exit_code == case["exit"]
    wanted = case.get("ignition", "")
    if wanted:
        assert unpacked(json.loads(done.stdout)) == unpacked(json.loads(wanted))
    if '"gzip"' not in wanted and name not in GZIP_DECISIONS:
        assert done.stdout == wanted


@pytest.mark.parametrize("name", CASES)
def test_strict_exit_code_is_the_reference_s_and_a_failure_writes_nothing(name, butane, files_dir):
    done = butane(*options(name, files_dir), "--strict", "--raw-errors")
    assert done.exit_code == CASES[name]["strict_exit"]
    assert bool(done.stdout) == (done.exit_code == 0)


@pytest.mark.parametrize("name", CASES)
def test_report_with_source_lines_is_the_reference_s(name, butane, files_dir):
    done = butane(*options(name, files_dir), "--check")
    said, wanted = done.stderr.replace(str(files_dir), "FILESDIR"), CASES[name].get("pretty", "")
    if name in UNORDERED:
        assert Counter(blocks(said)) == Counter(blocks(wanted))
    else:
        assert said == wanted
    assert (done.exit_code, done.stdout) == (CASES[name]["exit"], "")


# ---- where it reads and writes


def test_standard_input_and_output_are_the_default(butane):
    assert butane(input=GOOD).stdout == MINIMAL
    assert butane("-", input=GOOD).stdout == MINIMAL
    assert "--> <stdin>:3:1" in butane(input=WARNS).stderr


def test_pretty_is_indented_json(butane):
    out = butane("--pretty", input=GOOD).stdout
    assert out.startswith("{\n  ")
    assert json.loads(out) == json.loads(MINIMAL)


def test_output_goes_to_a_file_and_an_old_one_is_replaced(butane):
    Path("x.ign").write_text("old and much longer than what is written now" * 9)
    assert butane("-o", "x.ign", input=GOOD).stdout == ""
    assert Path("x.ign").read_text() == MINIMAL


def test_a_failure_leaves_the_old_output(butane):
    Path("x.ign").write_text("old")
    assert butane("-o", "x.ign", input=FAILS).exit_code == 1
    assert butane("-o", "x.ign", "--strict", input=WARNS).exit_code == 1
    assert butane("-o", "x.ign", "--check", input=GOOD).exit_code == 0
    assert Path("x.ign").read_text() == "old"


def test_several_files_go_to_a_directory_and_one_mistake_does_not_stop_the_rest(butane):
    for name, text in {"a": GOOD, "b": FAILS, "c": WARNS}.items():
        Path(f"{name}.bu").write_text(text)
    done = butane("--out-dir", "new/out", "a.bu", "b.bu", "c.bu", "--raw-errors")
    assert done.exit_code == 1
    assert sorted(path.name for path in Path("new/out").iterdir()) == ["a.ign", "c.ign"]
    assert done.stderr == (
        "b.bu: error at $.storage.files.0.path, line 5 col 13: path not absolute\n"
        "b.bu: Error translating config: config generated was invalid\n"
        "c.bu: warning at $.extra, line 3 col 1: unused key extra\n"
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["a.bu", "b.bu"], "Several FILEs need --out-dir (or --check)."),
        (["--out-dir", "o", "-o", "x", "a.bu"], "-o and --out-dir exclude each other."),
        (["--out-dir", "o"], "--out-dir needs FILEs"),
        (["--out-dir", "o", "x/a.bu", "y/a.bu"], "x/a.bu and y/a.bu would both be written to o/a.ign."),
        (["--nope"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(butane, given, why):
    done = butane(*given)
    assert done.exit_code == 2
    assert why in done.stderr


def test_what_cannot_be_read_or_written_is_a_sentence(butane):
    missing = butane("nope.bu")
    assert (missing.exit_code, missing.stderr) == (
        1,
        "error: cannot read nope.bu\n  why: No such file or directory\n",
    )
    Path("taken").touch()
    refused = butane("-o", "taken/x.ign", input=GOOD)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: cannot write taken/x.ign\n  why: ")


# ---- findings for people


def test_quiet_keeps_warnings_back_and_very_quiet_everything(butane):
    assert butane("-q", input=WARNS).stderr == ""
    assert "path not absolute" in butane("-q", input=FAILS).stderr
    assert butane("-qq", input=FAILS).stderr == ""


def test_colours_are_for_terminals(butane, monkeypatch):
    assert "\x1b[" not in butane(input=WARNS).stderr
    assert "\x1b[33mwarning[$.extra]:\x1b[0m" in butane("--color", "always", input=WARNS).stderr
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert "\x1b[" in butane(input=WARNS).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in butane(input=WARNS).stderr


def test_strict_says_why_it_failed(butane):
    assert butane("--strict", input=WARNS).stderr.endswith(
        "\nConfig produced warnings and --strict was specified\n"
    )


# ---- the files directory


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/../secret"])
def test_local_paths_stay_inside_the_files_directory(butane, path):
    Path("files-secret").mkdir()
    Path("files").mkdir()
    Path("secret").write_text("x")
    text = f"{GOOD}storage:\n  files:\n    - path: /a\n      contents: {{local: {path}}}\n"
    done = butane("-d", "files", "--raw-errors", input=text)
    assert done.exit_code == 1
    assert "local file path traverses outside the files directory" in done.stderr


def test_a_sibling_whose_name_starts_the_same_is_outside(butane):
    Path("files-secret").mkdir()
    Path("files").mkdir()
    Path("files-secret/x").write_text("x")
    text = f"{GOOD}storage:\n  files:\n    - path: /a\n      contents: {{local: ../files-secret/x}}\n"
    assert butane("-d", "files", input=text).exit_code == 1


def test_the_operating_system_s_refusals_keep_their_place(tmp_path):
    files = DiskFiles(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for path, why in {
        "none": f"open {tmp_path}/none: no such file or directory",
        ".": f"read {tmp_path}: is a directory",
        "loop": f"open {tmp_path}/loop: too many levels of symbolic links",
        "pipe": f"read {tmp_path}/pipe: not a regular file",
    }.items():
        with pytest.raises(LocalFileError) as refusal:
            files.read(path)
        assert str(refusal.value) == why
    with pytest.raises(LocalFileError, match="invalid argument"):
        files.read("a\0b")
    assert files.lstat("loop").kind == "link"
    assert files.stat("pipe") == LocalEntry("other", files.stat("pipe").mode)


def test_names_that_are_not_utf_8_are_refused(tmp_path):
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(LocalFileError, match="is not UTF-8"):
        DiskFiles(tmp_path).listdir(".")


# ---- as a process


def run(*args: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROBE, "butane", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, input=text, capture_output=True, check=False, env=env, cwd=ROOT)


PROBE = """
import sys
from flatyard.cli.main import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def test_the_example_goes_through_and_nothing_of_the_rest_is_loaded():
    done = run(EXAMPLE)
    assert done.returncode == 0
    assert json.loads(done.stdout)["ignition"]["version"] == "3.3.0"
    modules = done.stderr.decode().splitlines()[-1].split()
    folders = {name.split(".")[1] for name in modules if name.startswith("flatyard.")}
    assert folders == {"base", "butane", "cli", "decode", "ignition"}
    assert {"asyncio", "cryptography", "rich", "ssl", "lightkube"} & set(modules) == set()


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"\0", b"a: &a [*a]", b"[" * 100_000, b"\x1b[31m: 1"])
def test_any_bytes_end_in_a_sentence(text):
    done = run(text=text)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Error translating config: " in done.stderr
