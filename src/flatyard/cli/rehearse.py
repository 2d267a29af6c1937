"""`flatyard rehearse FILE…`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.cli.talk import Talk
    from flatyard.controller.documents import Given
    from flatyard.engine.wanted import Wanted


class Rehearse(click.Command):
    """Its help ends with the list of faults, which only it needs."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from flatyard.clouds.sim.faults import describe

        with formatter.section("Faults (--fault WHAT:KIND[=VALUE][@KEY=VALUE,...])"):
            for line in describe().splitlines():
                formatter.write(f"  {line}\n")


@click.command("rehearse", cls=Rehearse)
@names.files
@click.option(
    "--replicas", type=click.IntRange(0, 5000), help="Machines of the first pool, instead of the file's."
)
@click.option(
    "--seed", type=int, help="Chooses every duration, id and chance; the same seed gives the same report."
)
@click.option(
    "--fault", "faults", multiple=True, metavar="FAULT", help="Something that goes wrong; may be repeated."
)
@output("text", "json")
@common
def command(
    files: tuple[str, ...], replicas: int | None, seed: int | None, faults: tuple[str, ...], output: str
) -> None:
    """Bring FILE... up on the simulated twin of their cloud: the real engine, in simulated time, in seconds.

    Nothing real is made. Exit code 0: all became ready, 1: not all (it says which machine, which unit, and what
    to do).
    """
    from flatyard.base.errors import Exit
    from flatyard.cli import paint_rehearsal, reading
    from flatyard.clouds.sim.faults import parse_faults
    from flatyard.controller.rehearsal import rehearse
    from flatyard.engine.wanted import with_replicas

    talk = talk_of()
    troubles = parse_faults(faults)
    given = reading.read(files, talk)
    wanted = given.wanted if replicas is None else with_replicas(given.wanted, replicas)
    _check(talk, given, wanted, bool(faults))
    found = rehearse(wanted, seed=seed, faults=troubles)
    if output == "json":
        talk.data(json.dumps(paint_rehearsal.as_json(found), indent=2, sort_keys=True))
    else:
        talk.data("\n".join(paint_rehearsal.lines(found, talk)))
    if not found.done:
        talk.failure(paint_rehearsal.failed(found))
        raise click.exceptions.Exit(Exit.FAILED)
    if output == "text":
        talk.next((f"flatyard plan {' '.join(files)}", "what would be made for real"))


def _check(talk: Talk, given: Given, wanted: Wanted, faulty: bool) -> None:
    """Refuse what the cloud would refuse; with faults, or another size, the rehearsal itself shows it."""
    from flatyard.cli import reading

    if wanted is given.wanted and not faulty:
        reading.check_by_twin(given, talk)
