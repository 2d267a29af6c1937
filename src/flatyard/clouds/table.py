"""The table of clouds: a name to its facts and, where there is one, its adapter; nothing is imported early."""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import dataclass

from flatyard.base.errors import InvalidInput, Position, Problem, Refused, Severity
from flatyard.base.world import World
from flatyard.clouds.cloud import Adapter, NoAccount
from flatyard.clouds.facts import CloudFacts
from flatyard.model.cluster import Cluster

ONLY_SIMULATED = (
    "this release only simulates {title}: write cloud: {{sim: {{as: {name}, region: …}}}}, or rehearse"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One cloud. `adapter` is the module of its adapter, None where this release has none.

    Those of real clouds have `connect(cluster, world) -> Adapter`.
    """

    name: str
    title: str
    facts: str
    adapter: str | None


def _real(name: str, title: str, *, adapter: bool = False) -> Entry:
    module = f"flatyard.clouds.{name}"
    return Entry(name, title, f"{module}.facts", f"{module}.cloud" if adapter else None)


CLOUDS: tuple[Entry, ...] = (
    _real("azure", "Microsoft Azure", adapter=True),
    _real("aws", "Amazon Web Services", adapter=True),
    _real("gcp", "Google Cloud"),
    _real("openstack", "OpenStack", adapter=True),
    _real("vsphere", "VMware vSphere"),
    Entry("local", "this Linux machine", "flatyard.clouds.local.facts", "flatyard.clouds.local.cloud"),
    Entry("sim", "the simulated twin of a cloud", "", "flatyard.clouds.sim.cloud"),
)
TWINS = tuple(entry.name for entry in CLOUDS if entry.name not in ("sim", "local"))
"""The clouds that `sim` can stand for."""


def entry(name: str, *, position: Position | None = None, path: str = "spec.cloud") -> Entry:
    """The cloud of that name; raises InvalidInput with what is allowed and the nearest spelling."""
    for known in CLOUDS:
        if known.name == name:
            return known
    raise InvalidInput((_unknown(name, tuple(e.name for e in CLOUDS), position, path),))


def facts(name: str, *, position: Position | None = None, path: str = "spec.cloud") -> CloudFacts:
    """The facts of a real cloud, imported now; raises InvalidInput for unknown names and for `sim`."""
    if name == "sim":
        raise InvalidInput((_unknown(name, (*TWINS, "local"), position, path),))
    module = importlib.import_module(entry(name, position=position, path=path).facts)
    found = module.FACTS
    assert isinstance(found, CloudFacts)
    return found


def place(name: str, region: str = "", *, simulated: bool = False) -> str:
    """Where a cluster is, in words; a simulated place is called so."""
    there = f"{name} {region}".strip() if name in TWINS else entry(name).title
    return f"simulated {there}" if simulated else there


def unavailable(name: str) -> str:
    """Why this release cannot act on the cloud; empty where it can."""
    known = entry(name)
    return "" if known.adapter else ONLY_SIMULATED.format(title=known.title, name=known.name)


def connect(cluster: Cluster, world: World) -> Adapter:
    """The account that a Cluster on a real cloud names, with the credentials that this environment has for it.

    Raises NoAccount when the cloud's SDK is not installed or there are no credentials, and Refused when those that
    are named are not there.
    """
    known = entry(cluster.spec.cloud.name)
    if known.adapter is None:
        raise Refused(f"there is no adapter for {known.title}", why=unavailable(known.name))
    try:
        module = importlib.import_module(known.adapter)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("flatyard"):
            raise
        raise NoAccount(
            f"the SDK of {known.title} is not installed",
            why=f"there is no module {missing.name}",
            next=_installing(known.name),
        ) from None
    made: Adapter = module.connect(cluster, world)
    return made


def _installing(extra: str) -> str:
    """How the SDK comes in: by the launcher of a checkout, or as the package's extra."""
    if os.environ.get("FLATYARD_PROGRAM"):
        return f"FLATYARD_EXTRAS={extra} flatyard version brings it in, once; then the same command again"
    return f"pip install 'flatyard[{extra}]'"


def _unknown(name: str, allowed: tuple[str, ...], position: Position | None, path: str) -> Problem:
    near = difflib.get_close_matches(name, allowed, 1)
    return Problem(
        Severity.ERROR,
        position,
        path,
        f"there is no cloud {name!r}",
        allowed=", ".join(allowed),
        suggestion=near[0] if near else "",
    )
