"""How much room the subscription has: vCPUs in all and by family, machines, addresses, networks, load balancers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.reading import Shown, part, segment, tags, text
from flatyard.clouds.azure.sizes import SizeHere
from flatyard.clouds.cloud import TAG_CLUSTER, ClusterRef, Role
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AzureMachine

OWN_ADDRESSES = 2
"""The endpoint's and the NAT gateway's."""
_ADDRESSES = ("publicipaddresses", "standardskupublicipaddresses", "ipv4standardskupublicipaddresses")
"""All are counted by the first, Standard ones of IPv4 by one of the others, which is the smaller number."""
_BALANCERS = ("loadbalancers", "standardskuloadbalancers")
_TITLES = {"cores": "vCPUs of the location", "virtualmachines": "virtual machines"}


async def problems(
    account: Account, name: str, groups: tuple[Pool[AzureMachine], ...], here: Mapping[str, SizeHere]
) -> list[Problem]:
    """One problem for each quota that the cluster `name` goes beyond; what it has already is not counted twice."""
    where = account.place.location
    compute, network = await asyncio.gather(
        account.read(f"reading quotas of {where}", lambda: list(account.clients.compute.usage.list(where))),
        account.read(
            f"reading network quotas of {where}", lambda: list(account.clients.network.usages.list(where))
        ),
    )
    wanted, rows = needs(account, groups, here), (*compute, *network)
    if not list(_exceeded(rows, wanted, Counter())):
        return []
    return list(_exceeded(rows, wanted, await _had(account, name, here)))


def _exceeded(rows: Iterable[Shown], wanted: Counter[str], had: Counter[str]) -> Iterator[Problem]:
    for row in rows:
        name = text(row, "name", "value")
        need, limit = wanted.get(name.lower(), 0), _number(row, "limit")
        used = max(0, _number(row, "currentValue") - had[name.lower()])
        if need and used + need > limit:
            yield _beyond(name, text(row, "name", "localizedValue"), need, used, limit)


async def _had(account: Account, name: str, here: Mapping[str, SizeHere]) -> Counter[str]:
    """What clusters of that name have already, by the same names: looked up only where a quota would be too small."""
    had: Counter[str] = Counter()
    for ref in await _clusters(account, name):
        group, network, api = account.place.group_for(ref), account.clients.network, account.clients.compute
        vms = await _rows(
            account, f"counting the machines of {name}", partial(api.virtual_machines.list, group)
        )
        for row in vms:
            size = here.get(text(row, "properties", "hardwareProfile", "vmSize").lower())
            if tags(row).get(TAG_CLUSTER) == ref.id and size is not None:
                had += Counter({"cores": size.vcpus, "virtualmachines": 1, size.family.lower(): size.vcpus})
        every = partial(network.public_ip_addresses.list, group)
        rows = await _rows(account, f"counting the addresses of {name}", every)
        addresses = sum(tags(row).get(TAG_CLUSTER) == ref.id for row in rows)
        had += Counter(
            {**dict.fromkeys(_ADDRESSES, addresses), **dict.fromkeys((*_BALANCERS, "virtualnetworks"), 1)}
        )
    return had


async def _clusters(account: Account, name: str) -> list[ClusterRef]:
    """Those of that name, known by the security group that each has."""
    api, group = account.clients.network.network_security_groups, account.place.group
    every = partial(api.list, group) if group else api.list_all
    rows = await _rows(account, f"looking for cluster {name}", every)
    refs = [ClusterRef(tags(row)[TAG_CLUSTER], name) for row in rows if TAG_CLUSTER in tags(row)]
    ours = {
        (account.named(ref, Role.CONTROL_PLANE.value), account.place.group_for(ref).lower()): ref
        for ref in refs
    }
    places = [(text(row, "name"), segment(text(row, "id"), "resourceGroups").lower()) for row in rows]
    return [ours[place] for place in places if place in ours]


async def _rows(account: Account, what: str, every: Callable[[], Iterable[Shown]]) -> list[Shown]:
    return await account.read(what, lambda: or_none(lambda: list(every()))) or []


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
            wanted.update(dict.fromkeys(_ADDRESSES, pool.replicas))
    wanted.update(dict.fromkeys(_ADDRESSES, OWN_ADDRESSES if not account.place.vnet else 1))
    wanted.update(dict.fromkeys(_BALANCERS, 1))
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
