"""What `flatyard` says about itself, and what it does with a wrong command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flatyard.cli.main import VERBS

HELP = """\
Usage: flatyard [OPTIONS] COMMAND [ARGS]...

  Kubernetes clusters on Flatcar Container Linux: one tool for their whole life.

  flatyard up examples/quickstart.yaml     a cluster on the simulated twin of AWS
  flatyard plan FILE                       see it before it happens
  flatyard rehearse FILE                   run it against a simulated cloud

Options:
  -q, --quiet                  Say less; -qq: nothing.
  -v, --verbose                Say more.
  --color [auto|always|never]  Colours; auto: on a terminal.
  --debug                      Show tracebacks of unknown errors.
  -h, --help                   Show this message and exit.

Commands:
  up          Make what the files describe: a new cluster, or changes to one.
  plan        Show what `up` would do, and do nothing.
  rehearse    Run the files against the simulated twin of their cloud, with
              faults.
  status      One tree: what is not healthy, and why.
  timing      Where the time went when a cluster's machines were made.
  get         List clusters, pools, machines, nodes, events or resources.
  scale       Change the number of machines of a pool.
  restart     Restart machines: drained, rebooted, back in service.
  kubeconfig  Print the path of a kubeconfig file for kubectl.
  down        Delete a cluster and everything that was made for it.
  ignition    Validate, merge, fit, show and apply Ignition configs.
  butane      Turn Butane into Ignition.
  images      List Flatcar images, say what is in them, bring one to a cloud.
  sysext      Build, inspect and serve Kubernetes as a system extension.
  schema      Print the JSON Schema of a kind, for editors.
  completion  Print the completion script for bash, zsh or fish.
  version     Print the version.

  Exit codes:
    0  done (plan: no changes)
    1  failed
    2  usage or invalid input
    3  not healthy (status)
    4  changes pending (plan)
    5  partly done; the same command goes on
  130  interrupted; the same command goes on
"""


def test_help(flatyard):
    result = flatyard("--help")
    assert (result.exit_code, result.stdout) == (0, HELP)


@pytest.mark.parametrize("verb", VERBS)
def test_each_command_has_help_and_the_common_options(flatyard, verb):
    result = flatyard(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: flatyard {verb} ")
    for option in ("--quiet", "--verbose", "--color", "--debug"):
        assert option in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_in_the_list_is_about_the_command(flatyard, verb):
    """The list is written by hand so that it imports nothing; this keeps a renamed module from being listed."""
    assert VERBS[verb].module == verb
    assert VERBS[verb].line.endswith(".")


def test_the_help_of_rehearse_lists_the_faults(flatyard):
    out = flatyard("rehearse", "--help").stdout
    assert "sysext:corrupt[@machine,p]" in out
    assert "the Kubernetes extension arrives with a flipped byte" in out


def test_an_unknown_command_is_a_usage_error(flatyard):
    result = flatyard("upp")
    assert result.exit_code == 2
    assert "No such command 'upp'" in result.stderr


def test_a_missing_file_argument_is_a_usage_error(flatyard):
    result = flatyard("up")
    assert result.exit_code == 2
    assert "Missing argument 'FILE...'" in result.stderr


@pytest.mark.parametrize("options", [("-q", "version"), ("version", "-q")])
def test_common_options_stand_before_or_after_the_verb(flatyard, options):
    assert flatyard(*options).exit_code == 0


def test_version(flatyard):
    found = json.loads(flatyard("version", "-o", "json").stdout)
    assert set(found) == {"flatyard", "kubernetes", "python"}
    assert flatyard("version").stdout.startswith(f"flatyard {found['flatyard']} ")


def test_schema_of_each_kind(flatyard):
    for kind in ("Cluster", "MachineDeployment", "MachineSet", "Machine"):
        assert json.loads(flatyard("schema", kind).stdout)["properties"]["kind"]
    assert len(json.loads(flatyard("schema").stdout)["oneOf"]) == 4


def test_schema_of_an_unknown_kind_names_the_nearest(flatyard):
    result = flatyard("schema", "cluster")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: there is no schema of 'cluster'\n"
        "  why: known: Cluster, MachineDeployment, MachineSet, Machine\n"
        "  next: flatyard schema Cluster\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(flatyard, shell):
    assert "_FLATYARD_COMPLETE" in flatyard("completion", shell).stdout


PROBE = """
import sys
from flatyard.cli.main import cli
try:
    cli.main(prog_name="flatyard")
except SystemExit as done:
    assert not done.code
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


def test_completion_of_cluster_names_imports_nothing_heavy(state):
    (state / "run").mkdir(parents=True)
    for name in ("quickstart", "prod"):
        (state / "run" / f"{name}.json").touch()
    env = os.environ | {"COMP_WORDS": "flatyard status qu", "COMP_CWORD": "2"}
    env |= {"_FLATYARD_COMPLETE": "bash_complete", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "plain,quickstart\n"
    heavy = {"asyncio", "cryptography", "httpx2", "obstore", "rich", "ssl", "starlette", "yaml"}
    assert heavy & set(done.stderr.split()) == set()


def test_an_unknown_error_is_a_sentence_and_no_traceback(flatyard, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("flatyard.model.schema.schemas", broken)
    result = flatyard("schema")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: flatyard met an error that it does not know: ZeroDivisionError")
    assert "Traceback" not in result.stderr
    assert isinstance(flatyard("--debug", "schema").exception, ZeroDivisionError)


def test_colours_only_where_they_are_wanted(flatyard, monkeypatch):
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert "\x1b[31m" in flatyard("schema", "x").stderr
    assert "\x1b[" not in flatyard("schema", "x", "--color", "never").stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in flatyard("schema", "x").stderr
    assert "\x1b[31m" in flatyard("--color", "always", "schema", "x").stderr


def test_quiet_keeps_errors_and_very_quiet_does_not(flatyard):
    assert flatyard("schema", "x", "-q").stderr
    assert flatyard("schema", "x", "-qq").stderr == ""
