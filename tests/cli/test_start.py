"""The short way to `flatyard butane` is the click command, only sooner: the same work, the same words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from flatyard.cli import butane_run, start
from flatyard.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/butane/golden"
CASES = [json.loads(line) for line in (GOLDEN / "cases.jsonl").read_text().splitlines()]
ENDS_CLICK = (
    "--help",
    "-q",
    "-v",
    "--color=never",
    "--color",
    "--debug",
    "--out-dir=x",
    "-sp",
    "--",
    "--stric",
    "-h",
)
MOST_MODULES = 130
"""A bare interpreter has about 30, libyaml's binding brings 17; the rest is ours, and re with what it needs."""


def process(*args: str, text: bytes = b"", **more) -> subprocess.CompletedProcess[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "flatyard", "butane", *args]
    env["PYTHONPATH"] = str(ROOT / "src")
    return subprocess.run(command, input=text, capture_output=True, check=False, env=env, **more)


# ---- the command line


def lines() -> list[tuple[str, ...]]:
    files = [(), ("a.bu",), ("-",), ("a.bu", "b.bu"), ("a.bu", "x/a.bu")]
    flags = [(), ("-s",), ("--check", "-p"), ("--pretty", "--raw-errors", "-r"), ("-c", "--strict", "--raw")]
    values = [
        (),
        ("-d", "f"),
        ("--files-dir", "-f"),
        ("-o", "-"),
        ("--output", "o", "-d", ""),
        ("--out-dir", "t"),
    ]
    return [(*value, *file, *flag) for file, flag, value in product(files, flags, values)]


def test_both_ways_want_the_same(monkeypatch):
    seen = []
    monkeypatch.setattr(butane_run, "run", lambda jobs, wanted, _: seen.append((jobs, wanted)) or 0)
    short = 0
    for line in lines():
        seen.clear()
        by_click = CliRunner().invoke(cli, ["butane", *line], prog_name="flatyard").exit_code
        plain = start.plain_butane(["butane", *line])
        assert plain is not None
        code = start.run_butane(plain)
        short += code is not None
        if by_click == 2:
            assert code is None
            assert seen == []
        else:
            assert code == by_click == 0
            assert seen[0] == seen[1]
    assert short > 60


@pytest.mark.parametrize("word", ENDS_CLICK)
def test_click_has_what_the_short_way_does_not_know(word):
    assert start.plain_butane(["butane", word]) is None
    assert start.plain_butane(["butane", "a.bu", word, "b"]) is None


@pytest.mark.parametrize("line", [[], ["plan"], ["ignition", "butane"], ["butane", "-d"], ["butane", "-o"]])
def test_other_lines_are_clicks(line):
    assert start.plain_butane(line) is None


def test_completion_is_clicks(monkeypatch):
    monkeypatch.setenv("_FLATYARD_COMPLETE", "bash_complete")
    assert start.plain_butane(["butane"]) is None


def test_a_wrong_line_has_clicks_words(tmp_path):
    done = process("a.bu", "b.bu", cwd=tmp_path)
    assert done.returncode == 2
    assert b"Usage: " in done.stderr
    assert b"Several FILEs need --out-dir (or --check)." in done.stderr


# ---- the work


def test_every_golden_case_in_one_short_process(tmp_path, files_dir):
    """With libyaml's binding alone, no part of PyYAML beside it."""
    sources = tmp_path / "bu"
    sources.mkdir()
    cases = {f"bu/{case['name']}.bu": case for case in CASES if case.get("files_dir", True)}
    for name, case in cases.items():
        (tmp_path / name).write_bytes(case["butane"].encode("utf-8", "surrogateescape"))
    done = process("--raw-errors", "-d", str(files_dir), "--out-dir", "out", *cases, cwd=tmp_path)
    assert done.returncode == 1
    written = {f"bu/{path.stem}.bu": path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {name for name, case in cases.items() if case["exit"] == 0}
    for name, text in written.items():
        wanted = cases[name]["ignition"]
        assert text == wanted or '"gzip"' in text, name
    said = done.stderr.decode("utf-8", "surrogateescape").replace(str(files_dir), "FILESDIR")
    last_words = {
        line.partition(": Error translating")[0] for line in said.splitlines() if ": Error tr" in line
    }
    assert last_words == {name for name, case in cases.items() if case["exit"]}
    for name, case in cases.items():
        for line in case["stderr"].splitlines():
            assert line in said, name


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"variant: flatcar\nversion: 1.1.0\n", 0, b""),
        (b"variant: flatcar\nversion: 1.1.0\nx: 1\n", 0, b"unused key x"),
        (b"a: [", 1, b"yaml: line 1: did not find expected node content"),
        (b"a: *b", 1, b"unknown anchor 'b' referenced"),
        (b"a: \x01", 1, b"control characters are not allowed"),
        (b"\xff", 1, b"yaml: invalid leading UTF-8 octet"),
        (b"a: \t\n\t- b: @", 1, b"yaml: "),
        (b"%YAML 9.9\n---\na: b", 1, b"found incompatible YAML document"),
        (b"a: &a [*a]", 1, b"anchor 'a' value contains itself"),
    ],
)
def test_findings_of_the_binding_alone(text, code, words):
    short, by_click = process(text=text), process("--color=never", text=text)
    assert (short.returncode, short.stdout, short.stderr) == (
        by_click.returncode,
        by_click.stdout,
        by_click.stderr,
    )
    assert short.returncode == code
    assert words in short.stderr


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    done = process("missing.bu", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        b"error: cannot read missing.bu\n  why: No such file or directory\n",
    )
    done = process("-o", str(tmp_path), text=b"variant: flatcar\nversion: 1.1.0\n")
    assert done.returncode == 1
    assert b"cannot write" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    config = tmp_path / "a.bu"
    config.write_text("variant: flatcar\nversion: 1.1.0\n# " + "x" * 100)
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = f"{sys.executable} -m flatyard butane {config} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=env)
    assert done.stderr == b""


# ---- what it loads

PROBE = """
import os, sys
sys.argv = ["flatyard", "butane", sys.argv[1]]
leave = os._exit
def tell(code):
    print(*sorted(sys.modules), file=sys.stderr, flush=True)
    leave(code)
os._exit = tell
from flatyard.cli.start import main
main()
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> list[str]:
    """The modules in the interpreter after a small file."""
    config = tmp_path_factory.mktemp("small") / "a.bu"
    config.write_text(
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /etc/motd\n      mode: 0644\n"
        "      contents: {inline: hello}\nsystemd:\n  units:\n    - {name: a.service, enabled: true}\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(config)],
        capture_output=True,
        text=True,
        check=True,
        env=env | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert '"path":"/etc/motd"' in done.stdout
    return done.stderr.split()


def test_nothing_of_the_rest_is_loaded(loaded):
    folders = {name.split(".")[1] for name in loaded if name.startswith("flatyard.")}
    assert folders == {"base", "butane", "cli", "decode", "ignition"}
    slow = {"click", "dataclasses", "inspect", "json", "pathlib", "typing", "urllib", "asyncio", "rich"}
    assert slow & set(loaded) == set()


def test_few_modules_are_loaded(loaded):
    assert len(loaded) <= MOST_MODULES, loaded
