"""`flatyard ignition`: the reference's answers at the command line."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from hashlib import sha512
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
    result = ignition("validate", "--raw-errors", GOLDEN / f"validate/{name}.json")
    assert result.exit_code == VALIDATE[name]["exit"]
    assert Counter(findings(result)) == Counter(VALIDATE[name]["report"])
    assert result.stdout == ""


@pytest.mark.parametrize("name", MERGE)
def test_merge_prints_what_the_reference_prints(ignition, name):
    result = ignition(
        "merge", "--raw-errors", *(GOLDEN / f"merge/{name}.{part}.json" for part in ("parent", "child"))
    )
    assert json.loads(result.stdout) == json.loads((GOLDEN / f"merge/{name}.merged.json").read_text())
    assert result.stderr == MERGE[name]["merged_report"]
    assert result.exit_code == (1 if MERGE[name]["merged_fatal"] else 0)


def test_a_2x_config_is_refused_with_what_to_do(ignition):
    result = ignition("validate", "--raw-errors", GOLDEN / "validate/version-2.3.0.json")
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
    result = ignition("merge", "--raw-errors", good, bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{bad}: error at line 1 col ")
    assert f"--> {bad}:1:14" in ignition("merge", good, bad).stderr


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
    assert result.stderr.startswith("error:\n  --> <stdin>")
    assert max(map(len, result.stderr.splitlines())) < 300


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
    assert rest[9:] == ["a stub that fetches it takes 229 bytes and its URL's"]
    assert result.exit_code == 1
    assert "flatyard ignition fit --limit 2000 --stub URL --payload PATH" in result.stderr


WORKER = GOLDEN / "show/aws-worker.ign"


def test_fit_knows_the_limits_of_the_platforms(ignition):
    from flatyard.cli.ignition import PLATFORMS
    from flatyard.clouds.table import TWINS

    assert sorted(PLATFORMS) == sorted(TWINS)
    limits = {name: ignition("fit", "--platform", name, WORKER).stdout.split()[3] for name in PLATFORMS}
    assert limits == {
        "aws": "16384",
        "azure": "65535",
        "gcp": "262144",
        "openstack": "49149",
        "vsphere": "49152",
    }


def test_fit_writes_the_user_data(ignition, tmp_path):
    target = tmp_path / "user-data"
    assert ignition("fit", "--platform", "aws", "--write", target, WORKER).exit_code == 0
    assert json.loads(target.read_text()) == json.loads(WORKER.read_text())
    assert ignition("fit", "--limit", 7000, "--gzip", "--write", target, WORKER).exit_code == 0
    assert json.loads(gzip.decompress(target.read_bytes())) == json.loads(WORKER.read_text())
    target.unlink()
    assert ignition("fit", "--limit", 7000, "--write", target, WORKER).exit_code == 1
    assert not target.exists()


def test_fit_makes_a_stub_and_what_its_url_must_serve(ignition, tmp_path):
    payload, target = tmp_path / "payload.ign", tmp_path / "user-data"
    args = ("--limit", 2000, "--stub", "https://example.com/x.ign", "--payload", payload)
    result = ignition("fit", *args, WORKER)
    digest = sha512(payload.read_bytes()).hexdigest()
    reference = {"source": "https://example.com/x.ign", "verification": {"hash": f"sha512-{digest}"}}
    wanted = {"ignition": {"config": {"replace": reference}, "version": "3.4.0"}}
    assert json.loads(result.stdout) == wanted
    assert f"their sha512: {digest}" in result.stderr
    assert json.loads(payload.read_text()) == json.loads(WORKER.read_text())
    assert ignition("fit", *args, "--write", target, WORKER).stdout == ""
    assert json.loads(target.read_text()) == wanted
    assert ignition("validate", target).stderr == ""


def test_a_stub_too_large_writes_nothing(ignition, tmp_path):
    payload = tmp_path / "payload.ign"
    result = ignition("fit", "--limit", 200, "--stub", "https://e.example/x", "--payload", payload, WORKER)
    assert (result.exit_code, result.stdout, payload.exists()) == (1, "", False)
    assert result.stderr == "error: the stub takes 248 bytes, 48 more than 200\n"


def test_fit_for_programs(ignition):
    found = json.loads(ignition("fit", "-o", "json", "--limit", 2000, WORKER).stdout)
    assert (found["fits"], found["form"], found["size"], found["limit"]) == (False, "inline", 7430, 2000)
    assert found["entries"][0] == {"entry": "file /etc/flatyard/kubeadm", "size": 898}
    assert found["stub"] == {"size": 229, "url": ""}
    packed = json.loads(ignition("fit", "-o", "json", "--limit", 7000, "--gzip", WORKER).stdout)
    assert (packed["fits"], packed["form"], packed["config"]["size"]) == (True, "gzip", 7430)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "--limit BYTES or --platform NAME is needed"),
        (("--limit", "9", "--platform", "aws"), "exclude each other"),
        (("--limit", "9", "--payload", "x"), "--payload goes with --stub"),
        (("--limit", "9", "--stub", "data:,x"), "--stub needs a URL that a machine can fetch"),
        (("--limit", "9", "--stub", "https://[x"), "--stub: "),
        (("--platform", "hetzner"), "is not one of"),
    ],
)
def test_options_of_fit_that_make_no_sense(ignition, options, why):
    result = ignition("fit", *options, WORKER)
    assert result.exit_code == 2
    assert why in result.stderr


def test_show_for_programs(ignition):
    found = json.loads(ignition("show", "-o", "json", WORKER).stdout)
    assert found[0] == {"section": "users", "text": "core", "below": ["ssh key ssh-ed25519 ada@example"]}
    assert {line["section"] for line in found} == {"users", "directories", "files", "links", "units"}


def test_a_file_that_cannot_be_read_or_written_is_a_failure(ignition, tmp_path):
    full = ignition("fit", "--limit", 9999, "--write", tmp_path / "no/such", WORKER)
    assert (full.exit_code, full.stdout) == (1, "")
    assert full.stderr == f"error: cannot write {tmp_path / 'no/such'}\n  why: No such file or directory\n"


def test_endless_input_ends_in_a_refusal(ignition):
    result = ignition("validate", "/dev/zero")
    assert result.exit_code == 1
    assert result.stderr == "error:\n  --> /dev/zero\n  not a config (longer than 16777216 bytes)\n"


def test_show_prints_the_tree(ignition):
    result = ignition("show", GOLDEN / "show/aws-worker.ign")
    assert result.stdout == (GOLDEN / "show/aws-worker.txt").read_text()
    assert (result.exit_code, result.stderr) == (0, "")


def test_show_of_a_refused_config_prints_findings_only(ignition, write):
    bad = write("bad.ign", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"a"}]}}')
    result = ignition("show", "--raw-errors", bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error at $.storage.files.0.path, line 1 col 61: path not absolute\n"


def test_quiet_leaves_warnings_out_and_very_quiet_everything(ignition, write):
    both = write("x.ign", '{"ignition":{"version":"3.4.0"},"x":1,"storage":{"files":[{"path":"a"}]}}')
    severities = {
        options: [
            line.split()[0] for line in ignition("validate", *options.split(), both).stderr.splitlines()
        ]
        for options in ("--raw-errors", "--raw-errors -q", "--raw-errors -qq", "-qq")
    }
    assert severities == {
        "--raw-errors": ["error", "warning"],
        "--raw-errors -q": ["error"],
        "--raw-errors -qq": [],
        "-qq": [],
    }


def test_colours_and_what_a_key_cannot_do_to_a_terminal(ignition, write):
    odd = write("x.ign", '{"ignition":{"version":"3.4.0"},"\\u001b[31m\\u202e":1}')
    raw = ignition("validate", "--raw-errors", "--color", "never", odd).stderr
    assert raw == "warning at $.␛[31m\ufffd, line 1 col 33: unused key ␛[31m\ufffd\n"
    painted = ignition("validate", "--raw-errors", "--color", "always", odd).stderr
    assert painted.startswith("\x1b[33mwarning\x1b[0m at $.␛")
    painted = ignition("validate", "--color", "always", odd).stderr
    assert painted.startswith("\x1b[33mwarning[$.␛[31m\ufffd]:\x1b[0m\n")
    assert "\x1b" not in ignition("validate", "--color", "never", odd).stderr


def test_a_finding_is_shown_with_its_line_and_carets(ignition, write):
    bad = write(
        "bad.ign", '{\n  "ignition": {"version": "3.4.0"},\n  "storage": {"files": [{"path": "a"}]}\n}\n'
    )
    result = ignition("validate", bad)
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"""error[$.storage.files.0.path]:
  --> {bad}:3:34
   |
 1 | {{
 2 |   "ignition": {{"version": "3.4.0"}},
 3 |   "storage": {{"files": [{{"path": "a"}}]}}
   |                                  ^^^ path not absolute
 4 | }}
   |
"""
    )


def test_each_of_several_files_is_validated_and_named(ignition, write):
    bad, good = write("bad.ign", '{"ignition":{}}'), ROOT / "examples/custom.ign"
    worse = write("worse.ign", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"a"}]}}')
    result = ignition("validate", "--raw-errors", bad, good, worse)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{bad}: couldn't parse config: invalid config version (couldn't parse)",
        f"{worse}: error at $.storage.files.0.path, line 1 col 61: path not absolute",
    ]
    assert ignition("validate", good, good).exit_code == 0
    assert ignition("validate", bad, worse).stderr.count("-->") == 2


def test_findings_for_programs_count_characters(ignition, write):
    odd = write("x.ign", '{"ignition":{"version":"3.4.0"},"ä漢":1,"storage":{"files":[{"path":"a"}]}}')
    old = write("old.ign", '{"ignition":{"version":"2.2.0"}}')
    result = ignition("validate", "-o", "json", odd, old, write("empty.ign", ""))
    error, warning, version, empty = json.loads(result.stdout)
    assert error == {
        "file": str(odd),
        "severity": "error",
        "path": "$.storage.files.0.path",
        "line": 1,
        "column": 68,
        "message": "path not absolute",
        "hint": "",
    }
    assert (warning["severity"], warning["column"], warning["path"]) == ("warning", 33, "$.ä漢")
    assert (version["line"], version["column"], version["path"]) == (1, 24, "$")
    assert version["hint"].startswith("spec 2.x predates")
    assert (empty["line"], empty["column"]) == (None, None)
    assert (result.exit_code, result.stderr) == (1, "")
    assert ignition("validate", "-o", "json", ROOT / "examples/custom.ign").stdout == "[]\n"


def test_what_is_found_in_a_merged_config_is_shown_in_what_is_printed(ignition, write):
    parent = write(
        "a", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/a","user":{"id":1}}]}}'
    )
    child = write(
        "b", '{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/a","user":{"name":"u"}}]}}'
    )
    result = ignition("merge", "--pretty", parent, child)
    assert result.exit_code == 1
    line = result.stdout.splitlines().index('        "user": {') + 1
    assert f"error[$.storage.files.0.user]:\n  --> the merged config:{line}:17\n" in result.stderr


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
