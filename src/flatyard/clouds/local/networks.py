"""A cluster's network: one bridge on this machine, with a range of addresses that nothing else uses.

The bridge carries its cluster's id as its alias, so it is found when every file is gone. Machines get their
addresses from `FIRST_MACHINE` on; the first is the bridge's own, the second the endpoint's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from flatyard.clouds.cloud import TAG_CLUSTER, ClusterRef, Network, Rejected, Transient
from flatyard.clouds.local import kernel
from flatyard.clouds.local.commands import run
from flatyard.clouds.local.folders import ClusterFolder, NetworkFile, clusters, make_private
from flatyard.clouds.local.overlay import FIRST_MACHINE
from flatyard.clouds.local.settings import PREFIX, LocalSettings
from flatyard.model.cluster import Cluster
from flatyard.model.cluster import Network as Ranges


@dataclass(frozen=True, slots=True)
class Taken:
    """A range that is in use, and by whom."""

    range: IPv4Network
    owner: str


@dataclass(frozen=True, slots=True)
class Link:
    """An interface of this machine."""

    name: str
    alias: str = ""
    mac: str = ""


def bridge_of(ref: ClusterRef) -> str:
    """The bridge's name unless the cluster file gives one: at most 15 characters, as the kernel wants it."""
    return f"fy{ref.id[-10:].lower()}"


def folder_of(settings: LocalSettings, ref: ClusterRef) -> ClusterFolder:
    return ClusterFolder(settings.home / ref.id.lower())


async def ensure(settings: LocalSettings, ref: ClusterRef, cluster: Cluster) -> Network:
    """The cluster's bridge, made if it is not there (a reboot of this machine takes it away).

    Raises Rejected when its name or its range is somebody else's.
    """
    async with kernel.alone():
        folder = folder_of(settings, ref)
        found = folder.network()
        if found is None:
            found = await _plan(settings, ref, cluster)
            make_private(folder.path)
            folder.write_network(found)
        await _make(found)
    return shown(found)


def shown(network: NetworkFile) -> Network:
    """The network as the engine knows it."""
    return Network(network.bridge, (network.cidr,), {}, (), network.cidr)


async def _plan(settings: LocalSettings, ref: ClusterRef, cluster: Cluster) -> NetworkFile:
    local = cluster.spec.cloud.local
    bridge = (local.bridge if local else "") or bridge_of(ref)
    if bridge in {link.name for link in await links()}:
        await _check_owner(bridge, ref.id)
    cidr = choose(settings.pool, cluster.spec.network, await _taken(settings, ref, cluster))
    hosts = IPv4Network(cidr)
    return NetworkFile(
        cluster_id=ref.id,
        cluster_name=ref.name,
        bridge=bridge,
        cidr=cidr,
        gateway=str(hosts[1]),
        endpoint=str(hosts[2]),
        nat=settings.nat,
        pods=cluster.spec.network.pods if cluster.spec.network.cni == "none" else "",
    )


def choose(pool: str, ranges: Ranges, taken: Iterable[Taken]) -> str:
    """The range that the cluster file gives, else the first free one of the pool.

    Raises Rejected, with the owner, when the given one is in use, or when the pool is.
    """
    used = tuple(taken)
    if ranges.nodes != Ranges().nodes:
        given = ipaddress.ip_network(ranges.nodes)
        owner = _owner(given, used)
        if owner:
            raise Rejected(
                f"the range {given} is in use: {owner}", next="give another one as spec.network.nodes"
            )
        return str(given)
    for part in IPv4Network(pool).subnets(new_prefix=max(PREFIX, IPv4Network(pool).prefixlen)):
        if not _owner(part, used):
            return str(part)
    raise Rejected(
        f"the pool {pool} has no free /{PREFIX}: {used[0].range} belongs to {used[0].owner}",
        next="give a range as spec.network.nodes, or another pool as FLATYARD_LOCAL_POOL",
    )


def _owner(wanted: object, taken: tuple[Taken, ...]) -> str:
    if not isinstance(wanted, IPv4Network):
        return "only IPv4 ranges can be used here"
    return next((f"{t.range}, {t.owner}" for t in taken if t.range.overlaps(wanted)), "")


async def refused_range(settings: LocalSettings, cluster: Cluster) -> Rejected | None:
    """Why a cluster that has no network yet would get none; asked before anything is made."""
    known = (other.network() for other in clusters(settings.home))
    if any(network and network.cluster_name == cluster.name for network in known):
        return None
    try:
        choose(settings.pool, cluster.spec.network, await _taken(settings, ClusterRef("", ""), cluster))
    except Rejected as no:
        return no
    return None


async def _taken(settings: LocalSettings, ref: ClusterRef, cluster: Cluster) -> tuple[Taken, ...]:
    found = [
        Taken(IPv4Network(cluster.spec.network.pods), "this cluster's pods"),
        Taken(IPv4Network(cluster.spec.network.services), "this cluster's services"),
    ]
    for other in clusters(settings.home):
        network = other.network()
        if network and network.cluster_id != ref.id:
            found.append(Taken(IPv4Network(network.cidr), f"cluster {network.cluster_name} of this machine"))
    routes = json.loads(await run("ip", "-j", "-4", "route", "show", "table", "all") or "[]")
    return (*found, *_routes(routes))


def _routes(routes: list[dict[str, str]]) -> Iterator[Taken]:
    for route in routes:
        with suppress(ValueError):  # "default" is no range
            yield Taken(IPv4Network(route["dst"], strict=False), f"routed to {route.get('dev', 'nowhere')}")


def free_address(network: NetworkFile, used: Iterable[str]) -> str:
    """The lowest address that no machine has. Raises Rejected when there is none."""
    taken = {IPv4Address(address) for address in used}
    hosts = IPv4Network(network.cidr)
    for number in range(FIRST_MACHINE, hosts.num_addresses - 1):
        if hosts[number] not in taken:
            return str(hosts[number])
    raise Rejected(
        f"{network.cidr} has no address left for another machine",
        next="give a larger range as spec.network.nodes",
    )


# ---- what the kernel has


async def links() -> tuple[Link, ...]:
    """All interfaces, with the aliases that tell whose they are."""
    rows = json.loads(await run("ip", "-j", "link", "show") or "[]")
    return tuple(Link(r["ifname"], r.get("ifalias", ""), r.get("address", "")) for r in rows)


def alias(cluster_id: str) -> str:
    return f"{TAG_CLUSTER}={cluster_id}"


async def bridges(cluster_id: str) -> tuple[str, ...]:
    """Bridges that say they are the cluster's."""
    return tuple(link.name for link in await links() if _is_of(link, cluster_id))


def _is_of(link: Link, cluster_id: str) -> bool:
    """A bridge that was not named to the end has no alias yet, but its cluster's own address."""
    return link.alias == alias(cluster_id) or (not link.alias and link.mac == _mac(cluster_id))


async def _check_owner(bridge: str, cluster_id: str) -> None:
    found = next((link for link in await links() if link.name == bridge), None)
    if found is None or _is_of(found, cluster_id):
        return
    raise Rejected(
        f"there is an interface {bridge} already, and it is not this cluster's"
        + (f" ({found.alias})" if found.alias else ""),
        next=f"give another name as spec.cloud.local.bridge; ip addr show {bridge} tells what it is",
    )


async def _make(network: NetworkFile) -> None:
    """Make the bridge, or what is missing of it. IPv6 stays off it: nobody would know its addresses."""
    name, prefix = network.bridge, IPv4Network(network.cidr).prefixlen
    there = name in await bridges(network.cluster_id)
    if not there:
        await _check_owner(name, network.cluster_id)
    kernel.remember()
    if not there:
        mac = _mac(network.cluster_id)
        await run("ip", "link", "add", name, "address", mac, "type", "bridge", "forward_delay", "0")
    await run("ip", "link", "set", name, "alias", alias(network.cluster_id), "addrgenmode", "none")
    await run("ip", "addr", "replace", f"{network.gateway}/{prefix}", "dev", name)
    await run("ip", "link", "set", name, "up")
    if int(kernel.setting(kernel.WATCHERS)) < kernel.ENOUGH_WATCHERS:
        kernel.change(kernel.WATCHERS, str(kernel.ENOUGH_WATCHERS))
    if network.nat:
        await _translate(network)


def _mac(text: str) -> str:
    """An address of the locally administered kind; a bridge without one takes another with each machine."""
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


# ---- the way out


def table_of(bridge: str) -> str:
    """The nft table that translates a bridge's addresses."""
    return f"flatyard_{bridge}".replace("-", "_")


async def _translate(network: NetworkFile) -> None:
    """Let machines reach the outside through this one."""
    table = table_of(network.bridge)
    await run("nft", "add", "table", "ip", table)
    await run("nft", "flush", "table", "ip", table)
    chain = "{ type nat hook postrouting priority srcnat ; }"
    await run("nft", f"add chain ip {table} out {chain}")
    await run(
        "nft", f'add rule ip {table} out ip saddr {network.cidr} oifname != "{network.bridge}" masquerade'
    )
    kernel.change(kernel.FORWARD, "1")


async def _tables() -> tuple[str, ...]:
    """All tables that translate addresses of clusters on this machine."""
    if not shutil.which("nft"):
        return ()
    found = json.loads(await run("nft", "-j", "list", "tables"))["nftables"]
    names = (entry["table"]["name"] for entry in found if "table" in entry)
    return tuple(name for name in names if name.startswith(table_of("")))


async def delete(settings: LocalSettings, ref: ClusterRef) -> None:
    """Remove the rules, the cluster's folder and the bridge, and put back what was changed for the last cluster.

    The bridge goes last: whatever ends this in between, the sweep still finds the cluster. Raises Transient while
    machines are in it.
    """
    if not (settings.home.is_dir() or kernel.FOLDER.is_dir() or await bridges(ref.id)):
        return
    folder = folder_of(settings, ref)
    async with kernel.alone():
        left = folder.folders()
        if left:
            raise Transient(f"the network of {ref.name} is in use by {', '.join(f.id for f in left)}")
        network = folder.network()
        ours = await bridges(ref.id)
        await _untranslate({*ours, network.bridge if network else bridge_of(ref)})
        await _put_back(ref.id)
        if folder.path.exists():
            await run("rm", "-rf", "--one-file-system", "--", str(folder.path))
        for name in ours:
            await run("ip", "link", "delete", name)
        _remove_empty(settings.home)


async def _untranslate(names: set[str]) -> None:
    tables = await _tables()
    for table in sorted(map(table_of, names)):
        if table in tables:
            await run("nft", "delete", "table", "ip", table)


async def _put_back(cluster_id: str) -> None:
    """Put the kernel's settings and loop devices back, once no other cluster needs them, whatever its home is."""
    if await _tables():
        return
    kernel.put_back(kernel.FORWARD)
    marked = [link.alias for link in await links() if link.alias.startswith(alias(""))]
    if all(mark == alias(cluster_id) for mark in marked):
        kernel.restore()


def _remove_empty(home: Path) -> None:
    """Leave no directory behind; another cluster's files keep it."""
    for folder in (home, home.parent):
        with suppress(OSError):
            folder.rmdir()
