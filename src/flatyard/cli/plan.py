"""`flatyard plan FILE…`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.controller.documents import Given
    from flatyard.engine.plan import Observed

NEW = "nothing"


@click.command("plan")
@names.files
@output("text", "json")
@common
def command(files: tuple[str, ...], output: str) -> None:
    """Show what `up` would create, change and delete, why, and what it leaves alone.

    Every changed field has a class: in place, replaces machines, or refused (with the way to do it). Exit code
    0: no changes, 4: changes pending, 2: invalid input or a refused change.
    """
    import asyncio

    from flatyard.base.errors import Exit
    from flatyard.cli import paint_plan, reading
    from flatyard.engine.apply import refuse
    from flatyard.engine.plan import plan

    talk = talk_of()
    given = reading.read(files, talk)
    reading.check(given, talk, act=False)
    observed, compared = asyncio.run(_observed(given))
    made = plan(given.wanted, observed)
    choice = given.wanted.cluster.spec.cloud
    if output == "json":
        found = paint_plan.as_json(made, simulated=choice.simulated, compared_with=compared)
        talk.data(json.dumps(found, indent=2, sort_keys=True))
    else:
        title = _title(made.cluster, given, compared)
        talk.data("\n".join(paint_plan.lines(made, talk, title=title)))
    refuse(made)
    if made.changes:
        talk.next(*_next(given, files))
        raise click.exceptions.Exit(Exit.CHANGES_PENDING)


def _title(name: str, given: Given, compared: str) -> str:
    if compared == NEW:
        return f"Plan for the new cluster {name} on {place(given)}"
    return f"Plan for cluster {name} on {place(given)}, compared with {compared}"


def place(given: Given) -> str:
    """The cloud in words; a simulated one is called so."""
    from flatyard.clouds import table

    choice = given.wanted.cluster.spec.cloud
    there = table.place(choice.twin, choice.region)
    return f"the simulated twin of {there}" if choice.simulated else there


async def _observed(given: Given) -> tuple[Observed, str]:
    """What is there, and in words what that was read from."""
    from flatyard.base.world import RealWorld
    from flatyard.controller import observing
    from flatyard.controller.launch import link_to
    from flatyard.controller.places import places_of
    from flatyard.engine import record as records
    from flatyard.engine.apply import applied_objects
    from flatyard.engine.plan import NOTHING, Observed
    from flatyard.store import open_store

    name = given.wanted.name
    record = await records.load(open_store(None, RealWorld()), name)
    if record is None:
        return NOTHING, NEW
    if record.cloud == "sim":
        async with await link_to(places_of(name)) as link:
            return await link.observed(), "the simulated cluster"
    living = await observing.observed(name)
    if living is not None:
        return living, "the cluster itself"
    applied = applied_objects(record)
    planes = given.wanted.cluster.spec.control_plane.replicas
    there = Observed(True, applied, applied, record.network is not None, record.endpoint is not None, planes)
    return there, "what the store knows, not with the cloud"


def _next(given: Given, files: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    from flatyard.cli.reading import why_unavailable

    named = " ".join(files)
    rehearse = (f"flatyard rehearse {named}", "run it against the simulated twin of its cloud first")
    if why_unavailable(given):
        return (rehearse,)
    return ((f"flatyard up {named}", "do it"), rehearse)
