"""`flatyard ignition`: the reference's answers at the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/ignition/golden"


def cases(name: str) -> dict[str, dict]:
    return {case["name"]: case for case in json.loads((GOLDEN / name / "MANIFEST.json").read_text())["cases"]}


VALIDATE, MERGE = cases("validate"), cases("merge")


@pytest.fixture
def ignition(flatyard):
    return lambda *args: flatyard("ignition", *map(str, args))


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def fed(text: str, *args: str) -> Result:
    """The command with a text on its standard input."""
    from flatyard.cli.main import cli

    return CliRunner().invoke(cli, ("ignition", *args), prog_name="flatyard", input=text)


def findings(result: Result) -> list[str]:
    """The lines of stderr that are the reference's; ours below them are indented."""
    return [line for line in result.stderr.splitlines() if not line.startswith("  ")]


@pytest.mark.parametrize("name", VALIDATE)
def test_validate_says_what_the_reference_says(ignition, name):
    result = ignition("validate", GOLDEN / f"validate/{name}.json")
    assert result.exit_code == VALIDATE[name]["exit"]
    assert Counter(findings(result)) == Counter(VALIDATE[name]["report"])
    assert result.stdout == ""


@pytest.mark.parametrize("name", MERGE)
def test_merge_prints_what_the_reference_prints(ignition, name):
    result = ignition("merge", *(GOLDEN / f"merge/{name}.{part}.json" for part in ("parent", "child")))
    assert json.loads(result.stdout) == json.loads((GOLDEN / f"merge/{name}.merged.json").read_text())
    assert result.stderr == MERGE[name]["merged_report"]
    assert result.exit_code == (1 if MERGE[name]["merged_fatal"] else 0)


def test_a_2x_config_is_refused_with_what_to_do(ignition):
    result = ignition("validate", GOLDEN / "validate/version-2.3.0.json")
    assert result.stderr == (
        "couldn't parse config: unsupported config version\n"
        "  next: spec 2.x predates Flatcar's current Ignition: convert it once with ignition-converter, or write"
        " it as Butane (variant: flatcar, version: 1.1.0)\n"
    )


def test_several_children_of_several_versions_become_the_newest(ignition, write):
    parent = write("a", '{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/a","mode":2541}]}}')
    child = write("b", '{"ignition":{"version":"3.6.0"},"storage":{"files":[{"path":"/b"}]}}')
    last = write("c", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/b","mode":384}]}}')
    merged = json.loads(ignition("merge", parent, child, last).stdout)
    assert merged["ignition"] == {"version": "3.6.0"}
    assert merged["storage"]["files"] == [{"path": "/a", "mode": 0o755}, {"path": "/b", "mode": 0o600}]


def test_merge_names_the_file_that_cannot_be_read_and_prints_nothing(ignition, write):
    good, bad = ROOT / "examples/custom.ign", write("bad.ign", '{"ignition": }\n')
    result = ignition("merge", good, bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{bad}: error at line 1 col ")


def test_dash_is_standard_input_once():
    config = '{"ignition":{"version":"3.4.0"}}'
    assert fed(config, "validate", "-").exit_code == 0
    assert fed(config, "merge", "-", str(ROOT / "examples/custom.ign")).exit_code == 0
    twice = fed(config, "merge", "-", "-")
    assert twice.exit_code == 2
    assert "standard input can be read only once" in twice.stderr


@pytest.mark.parametrize("verb", ["validate", "fit", "show"])
@pytest.mark.parametrize("data", ["", "\0", "\ufffd", "[" * 100_000, "{" * 100_000, "9" * 10_000, '"\ud83d'])
def test_any_text_gets_a_finding_and_no_traceback(verb, data):
    limit = ("--limit", "10") if verb == "fit" else ()
    result = fed(data.encode("utf-8", "surrogatepass"), verb, *limit, "-")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(("error", "couldn't parse config: "))


def test_fit_says_what_the_user_data_is(ignition):
    worker = GOLDEN / "show/aws-worker.ign"
    assert ignition("fit", "--limit", 16384, worker).stdout == "inline: 7430 of 16384 bytes\n"
    packed = ignition("fit", "--gzip", "--limit", 7000, worker)
    assert packed.exit_code == 0
    assert packed.stdout.startswith("inline, gzip of 7430 bytes: ")


def test_fit_lists_the_ten_largest_entries_where_it_is_too_large(ignition):
    result = ignition("fit", "--limit", 2000, GOLDEN / "show/aws-worker.ign")
    first, largest, *rest = result.stdout.splitlines()
    assert first == "too large: 7430 bytes, 5430 more than 2000; the largest entries:"
    assert largest == "       898  file /etc/flatyard/kubeadm"
    assert (len(rest), result.exit_code) == (9, 1)


def test_show_prints_the_tree(ignition):
    result = ignition("show", GOLDEN / "show/aws-worker.ign")
    assert result.stdout == (GOLDEN / "show/aws-worker.txt").read_text()
    assert (result.exit_code, result.stderr) == (0, "")


def test_show_of_a_refused_config_prints_findings_only(ignition, write):
    bad = write("bad.ign", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"a"}]}}')
    result = ignition("show", bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error at $.storage.files.0.path, line 1 col 61: path not absolute\n"


def test_quiet_leaves_warnings_out_and_very_quiet_everything(ignition, write):
    both = write("x.ign", '{"ignition":{"version":"3.4.0"},"x":1,"storage":{"files":[{"path":"a"}]}}')
    severities = {
        option: [line.split()[0] for line in ignition("validate", *option.split(), both).stderr.splitlines()]
        for option in ("", "-q", "-qq")
    }
    assert severities == {"": ["error", "warning"], "-q": ["error"], "-qq": []}


def test_colours_and_what_a_key_cannot_do_to_a_terminal(ignition, write):
    odd = write("x.ign", '{"ignition":{"version":"3.4.0"},"\\u001b[31m":1}')
    assert ignition("validate", "--color", "never", odd).stderr.startswith(
        "warning at $.\\x1b[31m, line 1 col 33: unused key \\x1b[31m"
    )
    assert ignition("validate", "--color", "always", odd).stderr.startswith("\x1b[33mwarning\x1b[0m at $.")


@pytest.mark.parametrize(
    "args", [("validate",), ("fit", "x"), ("merge", "x"), ("show", "/nowhere"), ("shw",)]
)
def test_a_wrong_command_line_is_a_usage_error(ignition, args):
    result = ignition(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: flatyard ignition ")


@pytest.mark.parametrize("verb", ["validate", "merge", "fit", "show"])
def test_each_command_has_help_and_the_common_options(ignition, verb):
    result = ignition(verb, "--help")
    assert result.exit_code == 0
    assert "--quiet" in result.stdout and "--color" in result.stdout


PROBE = """
import sys
from flatyard.cli.main import cli
try:
    cli.main(["ignition", "show", "examples/custom.ign"], prog_name="flatyard")
except SystemExit as done:
    assert not done.code
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


def test_nothing_of_the_rest_of_flatyard_is_loaded():
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    loaded = done.stderr.split()
    ours = {name.split(".")[1] for name in loaded if name.startswith("flatyard.")}
    assert ours == {"base", "cli", "ignition"}
    assert {"asyncio", "ssl", "yaml", "rich", "cryptography"} & set(loaded) == set()
