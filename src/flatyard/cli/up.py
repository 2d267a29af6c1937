"""`flatyard up FILE…`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flatyard.cli import durations, names
from flatyard.cli.options import common, talk_of
from flatyard.cli.talk import Talk

if TYPE_CHECKING:
    from flatyard.controller.documents import Given
    from flatyard.controller.link import Link
    from flatyard.model.cluster import Cluster

SPEED = 60.0
LOCAL_SECONDS = 90.0
"""What a small cluster on this machine takes, once its programs are compiled."""


@click.command("up")
@names.files
@click.option("-y", "--yes", is_flag=True, help="Do not ask. On sim nothing is asked.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.1, max=10_000),
    default=SPEED,
    show_default=True,
    envvar="FLATYARD_SPEED",
    show_envvar=True,
    help="On sim: how many simulated seconds pass in one. Fixed for a cluster's life.",
)
@durations.timeout
@common
def command(files: tuple[str, ...], yes: bool, speed: float, timeout: float | None) -> None:
    """Make what FILE... describe: network, control plane, workers, base manifests, until all is ready.

    Run it again after a change, an interruption or a crash: it goes on from what is there. One background
    process on this machine does the work, and keeps the cluster as it is wanted until `flatyard down`. A cluster
    on `sim: {as: aws, …}` needs no account: everything in it is simulated by that process.
    """
    import asyncio

    from flatyard.cli import reading

    talk = talk_of()
    loud, talk.quiet = talk.quiet, talk.quiet if talk.verbose else max(talk.quiet, 1)
    given = reading.read(files, talk)
    talk.quiet = loud
    if given.warnings and not talk.verbose:
        talk.say(f"{_count(len(given.warnings), 'warning')} about the files; flatyard plan shows them")
    _only_simulated(given, files, yes)
    reading.check(given, talk)
    asyncio.run(_up(talk, given, files, speed, timeout))


def _only_simulated(given: Given, files: tuple[str, ...], yes: bool) -> None:
    """Refuse where this release cannot act; on a real cloud ask before acting."""
    import sys

    from flatyard.base.errors import Refused
    from flatyard.cli.reading import why_unavailable

    named = " ".join(files)
    why = why_unavailable(given)
    if why:
        raise Refused(
            f"cluster {given.wanted.name} cannot be made", why=why, next=f"flatyard rehearse {named}"
        )
    if given.wanted.cluster.spec.cloud.simulated or yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked: this is no terminal", next=f"flatyard up --yes {named}")
    click.confirm(f"Make or change cluster {given.wanted.name}?", abort=True, err=True)


async def _up(talk: Talk, given: Given, files: tuple[str, ...], speed: float, timeout: float | None) -> None:
    from flatyard.cli.follow import Follow, failed
    from flatyard.cli.plan import place
    from flatyard.controller.launch import Start
    from flatyard.controller.places import places_of

    wanted = given.wanted
    order = _Order(talk, given, speed)
    follow = Follow(
        talk,
        places_of(wanted.name),
        order,
        f"{wanted.name} on {place(given)}",
        start=Start(wanted.cluster, speed if wanted.cluster.spec.cloud.simulated else 1.0),
        timeout=durations.patience(timeout, wanted.cluster.spec.cloud.name),
        expected=_expected(given, speed),
        again=f"flatyard up {' '.join(files)}",
    )
    event = await follow.until_done()
    if not event.done:
        raise failed(event, wanted.name)
    simulated = wanted.cluster.spec.cloud.simulated
    talk.data(order.sentence or f"Cluster {wanted.name} is ready ({_made_of(wanted.cluster)}).")
    name = wanted.name
    api = "the simulated API" if simulated else "its API"
    talk.next(
        (f"flatyard status {name}", "what there is, and what is not healthy"),
        (f'kubectl --kubeconfig "$(flatyard kubeconfig {name})" get nodes -o wide', api),
        (f"flatyard down {name}", "delete it and end its background process"),
    )


def _expected(given: Given, speed: float) -> float:
    """About how many seconds it takes to make all of it."""
    from flatyard.controller.expected import seconds_to_make

    choice = given.wanted.cluster.spec.cloud
    if choice.twin == "local":
        return LOCAL_SECONDS
    return seconds_to_make(given.wanted) / (speed if choice.simulated else 1.0)


def _made_of(cluster: Cluster) -> str:
    """Never more than is true: machines of `local` are containers, of a stand-in unless the user has an image."""
    choice = cluster.spec.cloud
    if choice.simulated:
        return "simulated"
    if choice.name != "local":
        from flatyard.clouds.table import place

        return place(choice.twin, choice.region)
    from flatyard.clouds.local.images import made_of
    from flatyard.clouds.local.settings import for_cluster, settings

    return made_of(for_cluster(settings(), cluster)).words


class _Order:
    """Compares, says what will be done, and writes the intent; given again to a process that replaces a dead one."""

    def __init__(self, talk: Talk, given: Given, speed: float) -> None:
        self._talk = talk
        self._speed = speed
        self._given = given
        self._told = False
        self.sentence = ""

    async def __call__(self, link: Link) -> int:
        from flatyard.cli import paint_plan
        from flatyard.cli.plan import place
        from flatyard.engine.apply import refuse
        from flatyard.engine.plan import plan

        made = plan(self._given.wanted, await link.observed())
        if not self._told:
            self._told = True
            if self._given.wanted.cluster.spec.cloud.simulated and link.run.speed != self._speed:
                self._talk.say(f"it goes on at the speed that it was made with, {link.run.speed:g}")
            if not made.changes:
                self.sentence = paint_plan.last_line(made, made.cluster)
            title = f"Cluster {made.cluster} on {place(self._given)}"
            for text in paint_plan.lines(made, self._talk, title=title) if made.changes else ():
                self._talk.say(text)
        refuse(made)
        return await link.intent(self._given.wanted)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
