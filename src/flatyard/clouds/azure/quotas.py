"""How much room the subscription has: vCPUs in all and by family, machines, addresses, networks, load balancers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.reading import Shown, part, text
from flatyard.clouds.azure.sizes import SizeHere
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AzureMachine

OWN_ADDRESSES = 2
"""The endpoint's and the NAT gateway's."""
_TITLES = {"cores": "vCPUs of the location", "virtualmachines": "virtual machines"}


async def problems(
    account: Account, groups: tuple[Pool[AzureMachine], ...], here: Mapping[str, SizeHere]
) -> list[Problem]:
    """One problem for each quota that the cluster, made anew, goes beyond."""
    where = account.place.location
    compute, network = await asyncio.gather(
        account.read(f"reading quotas of {where}", lambda: list(account.clients.compute.usage.list(where))),
        account.read(
            f"reading network quotas of {where}", lambda: list(account.clients.network.usages.list(where))
        ),
    )
    wanted = needs(account, groups, here)
    found = []
    for row in (*compute, *network):
        name = text(row, "name", "value")
        limit, used = _number(row, "limit"), _number(row, "currentValue")
        need = wanted.get(name.lower(), 0)
        if need and used + need > limit:
            found.append(_beyond(name, text(row, "name", "localizedValue"), need, used, limit))
    return found


def needs(
    account: Account, groups: Iterable[Pool[AzureMachine]], here: Mapping[str, SizeHere]
) -> Counter[str]:
    """How much of each quota, by its name in small letters."""
    wanted: Counter[str] = Counter()
    for pool in groups:
        size = here.get(pool.machine.size.lower())
        cores = pool.replicas * (size.vcpus if size else 0)
        wanted["cores"] += cores
        wanted["virtualmachines"] += pool.replicas
        if size:
            wanted[size.family.lower()] += cores
        if pool.machine.assign_public_ip.value:
            wanted["publicipaddresses"] += pool.replicas
    wanted["publicipaddresses"] += OWN_ADDRESSES if not account.place.vnet else 1
    wanted["loadbalancers"] += 1
    wanted["virtualnetworks"] += 0 if account.place.vnet else 1
    return wanted


def _beyond(name: str, title: str, need: int, used: int, limit: int) -> Problem:
    what = (
        f"the cluster needs {need} of {title or _TITLES.get(name.lower(), name)} ({name}); "
        f"the subscription may use {limit} and uses {used}"
    )
    return Problem(
        Severity.ERROR,
        None,
        "spec",
        what,
        "fewer or smaller machines, another location, or a higher quota (portal: Usage + quotas)",
    )


def _number(row: Shown, name: str) -> int:
    found = part(row, name)
    return int(found) if isinstance(found, int | float) else 0
