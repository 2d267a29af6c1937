"""`flatyard`: the commands by name, and what every one of them does with errors and exit codes.

`--help` must stay light, so the table has each command's one line and nothing is imported before it is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from flatyard.base.errors import Exit
from flatyard.base.values import dataclass
from flatyard.cli.edge import at_the_edge
from flatyard.cli.options import common, talk_of
from flatyard.cli.talk import Talk


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: its module below flatyard.cli and its line in the list."""

    module: str
    line: str


VERBS: dict[str, Verb] = {
    "up": Verb("up", "Make what the files describe: a new cluster, or changes to one."),
    "plan": Verb("plan", "Show what `up` would do, and do nothing."),
    "rehearse": Verb("rehearse", "Run the files against the simulated twin of their cloud, with faults."),
    "status": Verb("status", "One tree: what is not healthy, and why."),
    "timing": Verb("timing", "Where the time went when a cluster's machines were made."),
    "get": Verb("get", "List clusters, pools, machines, nodes, events or resources."),
    "scale": Verb("scale", "Change the number of machines of a pool."),
    "restart": Verb("restart", "Restart machines: drained, rebooted, back in service."),
    "kubeconfig": Verb("kubeconfig", "Print the path of a kubeconfig file for kubectl."),
    "down": Verb("down", "Delete a cluster and everything that was made for it."),
    "ignition": Verb("ignition", "Validate, merge, fit, show and apply Ignition configs."),
    "butane": Verb("butane", "Turn Butane into Ignition."),
    "images": Verb("images", "List Flatcar images, say what is in them, bring one to a cloud."),
    "sysext": Verb("sysext", "Build, inspect and serve Kubernetes as a system extension."),
    "schema": Verb("schema", "Print the JSON Schema of a kind, for editors."),
    "completion": Verb("completion", "Print the completion script for bash, zsh or fish."),
    "version": Verb("version", "Print the version."),
}

EXIT_CODES = """\b
Exit codes:
  0  done (plan: no changes)
  1  failed
  2  usage or invalid input
  3  not healthy (status)
  4  changes pending (plan)
  5  partly done; the same command goes on
130  interrupted; the same command goes on"""


class Flatyard(click.Group):
    """The group of all commands; errors become sentences and exit codes here and nowhere else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module = importlib.import_module(f"flatyard.cli.{verb.module}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.line) for name, verb in VERBS.items()])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - click's
        """Run, then leave with the exit code of what happened."""
        arguments = list(sys.argv[1:] if args is None else args)
        talk = Talk()
        options["standalone_mode"] = False
        sys.exit(at_the_edge(lambda: self._click(arguments, rest, options, talk), talk))

    def _click(
        self, arguments: list[str], rest: tuple[Any, ...], options: dict[str, Any], talk: Talk
    ) -> object:
        """What click does with a command line, its own errors told in its own words."""
        try:
            return super().main(arguments, *rest, obj=talk, **options)
        except click.exceptions.Exit as done:
            return done.exit_code
        except click.ClickException as error:
            error.show()
            return Exit.USAGE
        except click.Abort:
            raise KeyboardInterrupt from None


@click.group(cls=Flatyard, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@common
def cli() -> None:
    """Kubernetes clusters on Flatcar Container Linux: one tool for their whole life.

    \b
    flatyard up examples/quickstart.yaml     a cluster on the simulated twin of AWS
    flatyard plan FILE                       see it before it happens
    flatyard rehearse FILE                   run it against a simulated cloud
    """


def main() -> None:
    """The `flatyard` command."""
    cli.main(prog_name="flatyard")


__all__ = ["cli", "main", "talk_of"]
