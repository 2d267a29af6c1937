"""`flatyard restart NAME MACHINE…`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flatyard.cli import durations, names
from flatyard.cli.options import common, output, talk_of
from flatyard.cli.talk import Talk

if TYPE_CHECKING:
    from flatyard.controller.link import Link
    from flatyard.controller.state import State
    from flatyard.kube.api import Json


@click.command("restart")
@names.name
@click.argument("machines", nargs=-1, required=True, metavar="MACHINE...")
@durations.timeout
@output("text", "json")
@common
def command(name: str, machines: tuple[str, ...], timeout: float | None, output: str) -> None:
    """Restart machines of cluster NAME, one after the other, and wait until their nodes are Ready again.

    A MACHINE is told by its own name or its node's. It is drained first, so PodDisruptionBudgets hold it up.
    """
    import asyncio

    asyncio.run(_restart(talk_of(), name, machines, timeout, output))


async def _restart(
    talk: Talk, name: str, machines: tuple[str, ...], timeout: float | None, output: str
) -> None:
    from flatyard.base.world import RealWorld, rfc3339_micro
    from flatyard.cli.clusters import cloud_of, is_simulated, known, link
    from flatyard.cli.follow import Follow, failed
    from flatyard.controller.places import places_of

    await known(name)
    request = rfc3339_micro(RealWorld().now())
    words = " ".join(machines)

    async def order(link: Link) -> int:
        return await link.restart(machines, request)

    again = f"flatyard restart {name} {words}"
    watched = durations.patience(timeout, await cloud_of(name))
    follow = Follow(talk, places_of(name), order, f"{name}: restart {words}", timeout=watched, again=again)
    event = await follow.until_done()
    async with await link(name) as process:
        found = _results(await process.state(), machines)
    if not all(one["restarted"] for one in found):
        raise failed(event, name)
    simulated = await is_simulated(name)
    if output == "json":
        talk.data(json.dumps({"cluster": name, "simulated": simulated, "machines": found}, indent=2))
    else:
        told = ", ".join(str(one["machine"]) for one in found)
        talk.data(f"Cluster {name} has restarted {told}{' (simulated)' if simulated else ''}.")
    if event.done:
        talk.next((f"flatyard get machines {name}", "the machines and their nodes"))
    else:
        talk.next((f"flatyard status {name}", "what else is not healthy"))


def _results(state: State, words: tuple[str, ...]) -> list[Json]:
    """How each machine that was named stands now, with its node's boot."""
    from flatyard.engine.restart import chosen, is_due

    nodes = {node.name: node for node in state.nodes}
    found: list[Json] = []
    for machine in chosen(state.name, state.machines, words):
        node = str((machine.status.get("nodeRef") or {}).get("name", ""))
        boot = (nodes[node].status.get("nodeInfo") or {}).get("bootID", "") if node in nodes else ""
        found.append(
            {"machine": machine.name, "node": node, "restarted": not is_due(machine), "boot_id": str(boot)}
        )
    return found
