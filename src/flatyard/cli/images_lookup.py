"""Which Flatcar images an account really has: asked of the cloud itself, or of its simulated twin."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import click

from flatyard.base.errors import InvalidInput, Problem, Refused, Severity
from flatyard.base.world import RealWorld, SeededWorld
from flatyard.cli.accounts import asked
from flatyard.cli.options import talk_of
from flatyard.clouds import table
from flatyard.clouds.cloud import Cloud, Image, ImageQuery
from flatyard.flatcar import Contents, is_supported, newest_release, release, version_key
from flatyard.model.cluster import (
    AwsCloud,
    AzureCloud,
    CloudChoice,
    Cluster,
    ClusterSpec,
    LocalCloud,
    OpenstackCloud,
    SimCloud,
)
from flatyard.model.meta import ObjectMeta

ARCHES = ("amd64", "arm64")
STAND_IN = "stand-in:"
"""How references of this machine's stand-in for Flatcar begin."""


@dataclass(frozen=True, slots=True)
class Account:
    """What of the command line says whose images are meant."""

    cloud: str
    as_: str = ""
    region: str = ""
    os_cloud: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One image that is there. `newest`: of its channel, architecture and generation."""

    channel: str
    image: Image
    newest: bool

    @property
    def contents(self) -> Contents | None:
        """What is in it, where the release data knows the version; of a stand-in it knows nothing."""
        return None if self.image.reference.startswith(STAND_IN) else release(self.image.version)


def cluster_of(account: Account) -> Cluster:
    """A Cluster of nothing but its cloud. Raises InvalidInput for what no cluster file could say either."""
    known = table.entry(account.cloud, path="--cloud")
    if known.adapter is None:
        raise Refused(
            f"images of {known.title} cannot be listed",
            why="this release only simulates it",
            next=f"flatyard images list --cloud sim --as {known.name}",
        )
    return Cluster(metadata=ObjectMeta(name="images"), spec=ClusterSpec(cloud=_choice(account)))


def _choice(account: Account) -> CloudChoice:
    match account.cloud:
        case "aws":
            return CloudChoice(
                aws=AwsCloud(region=_needed(account.region, "--region"), profile=account.profile)
            )
        case "azure":
            return CloudChoice(azure=AzureCloud(location=_needed(account.region, "--region")))
        case "openstack":
            return CloudChoice(openstack=OpenstackCloud(cloud=account.os_cloud, region=account.region))
        case "local":
            return CloudChoice(local=LocalCloud())
        case "sim":
            twin = _needed(account.as_, "--as")
            known = table.facts(twin, path="--as")
            region = account.region or known.regions[0].name
            if known.region(region) is None:
                raise InvalidInput((_no_region(twin, region),))
            return CloudChoice(sim=SimCloud(as_=twin, region=region))
    raise AssertionError(f"{account.cloud} has an adapter, and no options here")


def _needed(value: str, option: str) -> str:
    if not value:
        raise click.UsageError(f"{option} is needed with this cloud")
    return value


def _no_region(cloud: str, region: str) -> Problem:
    names = tuple(known.name for known in table.facts(cloud).regions)
    near = difflib.get_close_matches(region, names, 1)
    what = f"{cloud} has no region {region!r}"
    return Problem(Severity.ERROR, None, "--region", what, ", ".join(names), near[0] if near else "")


def doubtful_region(cluster: Cluster) -> str:
    """What to say of a region that looks misspelt; empty for a known one. Clouds open regions that we do not know."""
    choice = cluster.spec.cloud
    if choice.simulated or not choice.region or table.facts(choice.name).region(choice.region):
        return ""
    close = near(cluster)
    return f"{choice.name} region {choice.region} is not known here; did you mean {close}?" if close else ""


def near(cluster: Cluster) -> str:
    """The known region that is spelt almost like the cluster's; empty where there is none."""
    choice = cluster.spec.cloud
    return _no_region(choice.name, choice.region).suggestion


def place(cluster: Cluster) -> str:
    """Where that is, in words; a simulated one is called so."""
    choice = cluster.spec.cloud
    where = f" {choice.region}" if choice.region else ""
    if choice.simulated:
        return f"the simulated twin of {choice.twin}{where}"
    return "this Linux machine" if choice.name == "local" else f"{choice.name}{where}"


def ask(cluster: Cluster, queries: Sequence[ImageQuery]) -> tuple[tuple[Image, ...], ...]:
    """The images for each query, the newest first. Raises Refused without SDK or credentials, and CloudError."""
    match cluster.spec.cloud.name:
        case "sim":
            return _ask_twin(cluster, queries)
        case "local":
            from flatyard.clouds.local.cloud import LocalCloud as ThisMachine
            from flatyard.clouds.local.settings import for_cluster, settings

            return asyncio.run(_ask(ThisMachine(for_cluster(settings(), cluster)), queries))
    with asked(talk_of()):
        return asyncio.run(_ask_account(cluster, queries))


async def _ask(cloud: Cloud, queries: Sequence[ImageQuery]) -> tuple[tuple[Image, ...], ...]:
    return tuple([await cloud.images(query) for query in queries])


async def _ask_account(cluster: Cluster, queries: Sequence[ImageQuery]) -> tuple[tuple[Image, ...], ...]:
    adapter = table.connect(cluster, RealWorld())
    try:
        return await _ask(adapter, queries)
    finally:
        await adapter.close()


def _ask_twin(cluster: Cluster, queries: Sequence[ImageQuery]) -> tuple[tuple[Image, ...], ...]:
    """In a loop that waits for nothing: a look at images is no rehearsal."""
    from flatyard.clouds.sim.twin import twin
    from flatyard.sim.disk import MemoryDisk
    from flatyard.sim.loop import VirtualLoop, run

    loop = VirtualLoop()

    async def asked() -> tuple[tuple[Image, ...], ...]:
        simulated = twin(cluster, SeededWorld(1, loop.time), MemoryDisk())
        simulated.open()
        try:
            return await _ask(simulated.cloud, queries)
        finally:
            simulated.close()

    return run(asked(), loop=loop)


def listing(
    cluster: Cluster, channels: Sequence[str], arches: Sequence[str], kubernetes: str | None = None
) -> tuple[Row, ...]:
    """Every image of the channels and architectures that is there; within each the newest first.

    `kubernetes`: only those with this version of it baked in.
    """
    queries = [ImageQuery(c, None, a, kubernetes=kubernetes) for c in channels for a in arches]
    rows: dict[str, Row] = {}
    for query, images in zip(queries, ask(cluster, queries), strict=True):
        seen: set[str] = set()
        for image in sorted(images, key=lambda image: _age(image.version)):
            row = Row(query.channel, image, image.generation not in seen)
            seen.add(image.generation)
            rows.setdefault(image.reference, row)
    return tuple(rows.values())


def _age(version: str) -> tuple[int, ...]:
    try:
        return tuple(-part for part in version_key(version))
    except Refused:
        return ()


def usable(row: Row) -> bool:
    """Whether nodes can be made of it, as far as its version tells."""
    try:
        return is_supported(row.image.version)
    except Refused:
        return True


def not_there_yet(rows: Sequence[Row], channels: Sequence[str]) -> tuple[Contents, ...]:
    """Releases that are out, while the newest image of their channel that is there is older."""
    late = []
    for channel in channels:
        there = [_age(row.image.version) for row in rows if row.channel == channel]
        known = newest_release(channel)
        if there and min(there) > _age(known.version):
            late.append(known)
    return tuple(late)
