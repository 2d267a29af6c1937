"""Virtual machines: made once by the name's own If-None-Match, listed by tag in one paged call, deleted with what is
theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from flatyard.clouds.azure import orders, terms
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import CAPACITY, exists_already, or_none
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.reading import Shown, items, part, tags, text
from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_OWNED,
    TAG_ROLE,
    CloudError,
    ClusterRef,
    CreateRequest,
    Instance,
    InstanceState,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.facts import Trouble
from flatyard.clouds.tags import OWNED, machine_id
from flatyard.pki.login import forgotten_key

KIND = "Microsoft.Compute/virtualMachines"
BUSY = "AnotherOperationInProgress"
_STATES = {
    "creating": InstanceState.PENDING,
    "updating": InstanceState.RUNNING,
    "migrating": InstanceState.RUNNING,
    "succeeded": InstanceState.RUNNING,
    "deleting": InstanceState.DELETING,
    "failed": InstanceState.ERROR,
    "canceled": InstanceState.ERROR,
}
_ADDRESSES, _FAULTS, _POWER = "addresses", "faults", "power"
_OFF = {"powerstate/deallocated", "powerstate/stopped"}
_ON = "powerstate/running"
POWER_SECONDS = 60.0
"""Between two looks at which machines are switched off, the first of them so long after a process began."""
Addresses = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why Azure calls a machine failed, in its words, as of a moment of the loop's. `runs`: it was made and has power.

    Azure tells with one word how the last operation ended, whichever that was: a machine that a disk could not be
    attached to, or whose agent was late to say that it is ready (it may have joined long before), is as failed as one
    that there never was room for.
    """

    said: str
    runs: bool
    asked: float


async def listed(account: Account, ref: ClusterRef) -> tuple[Instance, ...]:
    """Every instance of the cluster: one paged call. Addresses of interfaces that this process has not seen yet
    take another one, and what failed is asked why, once a minute.
    """
    group = account.place.group_for(ref)
    api = account.clients.compute.virtual_machines
    rows = await account.read(
        f"listing the machines of {ref.name}", lambda: or_none(lambda: list(api.list(group)))
    )
    ours = [row for row in rows or () if _is_ours(ref, row)]
    unseen = [row for row in ours if (_ADDRESSES, _interface(row)) not in account.kept]
    if unseen:
        await _learn(account, group)
    await asyncio.gather(*(_fault(account, group, row) for row in ours if _state(row) is InstanceState.ERROR))
    off = await _switched_off(account)
    found = [(instance(account, ref, row), row) for row in ours]
    return tuple(replace(one, state=_power(one.state, text(row, "id").lower() in off)) for one, row in found)


def _power(state: InstanceState, off: bool) -> InstanceState:
    return InstanceState.STOPPED if off and state is InstanceState.RUNNING else state


async def _switched_off(account: Account) -> frozenset[str]:
    """The ids of those that have no power, as of the last minute: a list of machines does not tell, and another one,
    of the subscription, tells nothing else.
    """
    now = asyncio.get_running_loop().time()
    kept = account.kept.get((_POWER, ""))
    if not isinstance(kept, tuple):
        kept = account.kept[_POWER, ""] = (now, frozenset())
    if now - kept[0] < POWER_SECONDS:
        before: frozenset[str] = kept[1]
        return before
    api = account.clients.compute.virtual_machines
    rows = await account.read(
        "asking which machines have power", lambda: list(api.list_all(status_only="true"))
    )
    off = frozenset(text(row, "id").lower() for row in rows if _codes(row) & _OFF)
    account.kept[_POWER, ""] = (now, off)
    return off


def _codes(row: Shown) -> set[str]:
    return {text(status, "code").lower() for status in items(row, "properties", "instanceView", "statuses")}


def _is_ours(ref: ClusterRef, row: Shown) -> bool:
    own = tags(row)
    return own.get(TAG_CLUSTER) == ref.id and own.get(TAG_OWNED) == OWNED


# ---- create


async def create(account: Account, request: CreateRequest) -> Instance:
    """Make it, or return what an earlier call of the same attempt made.

    Raises Rejected where the name is another machine's, Transient while an earlier one of that name is going.
    """
    orders.check(request)
    plan = terms.plan_of(orders.azure_machine(request), request.image)
    if plan:
        await terms.ensure(account, plan)
    group, name = account.place.group_for(request.cluster), orders.interface_name(request)
    nic = account.place.id(group, orders.INTERFACES, name)
    body = orders.machine(account, request, nic, forgotten_key())
    interface = orders.interface(account, request, await _address(account, request, group))
    nics, vms = account.clients.network.network_interfaces, account.clients.compute.virtual_machines
    try:
        made = await account.write(
            f"creating {request.name}'s interface",
            lambda: nics.begin_create_or_update(group, name, interface, polling=False).result(),
        )
        account.kept[_ADDRESSES, nic.lower()] = _addresses_of(made)
    except Transient as busy:
        # an earlier try made it, and its machine is being made: the machine's own name tells. Or what is busy is
        # something that it refers to, and it was not made
        if busy.code != BUSY or not await _has_interface(account, group, name):
            raise

    def put() -> Shown | None:
        """None: there is one of that name."""
        try:
            return vms.begin_create_or_update(
                group, request.name, body, match_condition=MatchConditions.IfMissing, polling=False
            ).result()
        except HttpResponseError as problem:
            if exists_already(problem):
                return None
            raise

    try:
        shown = await account.write(f"creating {request.name}", put)
    except Rejected:
        await _drop(account, group, name)
        raise
    return await _adopted(account, request, group, shown)


async def _has_interface(account: Account, group: str, name: str) -> bool:
    api = account.clients.network.network_interfaces
    look: Callable[[], Shown | None] = lambda: or_none(lambda: api.get(group, name))  # noqa: E731
    return await account.read(f"looking for {name}", look) is not None


async def _adopted(account: Account, request: CreateRequest, group: str, shown: Shown | None) -> Instance:
    """What has the name now: this machine's and this attempt's, or nobody's that we take."""
    mine = shown is not None
    if shown is None:
        vms = account.clients.compute.virtual_machines
        shown = await account.read(
            f"looking for {request.name}", lambda: or_none(lambda: vms.get(group, request.name))
        )
    taken = FACTS.refusal(Trouble.NAME_TAKEN).code
    if shown is None or _state(shown) is InstanceState.DELETING:
        raise Transient(f"creating {request.name}: one of that name is still being deleted", code=taken)
    own = tags(shown)
    same = machine_id(own, FACTS.tags) == request.machine_id and own.get(TAG_ATTEMPT) == str(request.attempt)
    if not (mine or same):
        raise Rejected(
            f"creating {request.name}: {text(shown, 'id')} has that name and is another machine",
            code=taken,
            next=f"az vm delete -g {group} -n {request.name}, or rename the machine",
        )
    return instance(account, request.cluster, shown)


async def _address(account: Account, request: CreateRequest, group: str) -> str:
    if not orders.wants_address(request):
        return ""
    name = f"{orders.interface_name(request)}-ip"
    api, body = account.clients.network.public_ip_addresses, orders.address(account, request)
    made = await account.write(
        f"creating {request.name}'s address",
        lambda: api.begin_create_or_update(group, name, body).result(),
    )
    account.kept[_ADDRESSES, text(made, "id").lower()] = (
        ("ExternalIP", text(made, "properties", "ipAddress")),
    )
    return text(made, "id")


async def _drop(account: Account, group: str, name: str) -> None:
    """The interface of a machine that Azure does not make; what cannot be deleted now goes with the sweep."""
    api = account.clients.network.network_interfaces
    with suppress(CloudError):
        await account.read(
            f"deleting {name}",
            lambda: or_none(lambda: api.begin_delete(group, name, polling=False).result()),
        )


# ---- delete and restart


async def delete(account: Account, ref: ClusterRef, instance: Instance) -> None:
    """Begin to delete it with its disks, its interface and its address; a missing one is fine."""
    group, api = account.place.group_for(ref), account.clients.compute.virtual_machines
    await account.write(
        f"deleting {instance.name}",
        lambda: or_none(lambda: api.begin_delete(group, instance.name, polling=False).result()),
    )


async def restart(account: Account, ref: ClusterRef, instance: Instance) -> None:
    group, api = account.place.group_for(ref), account.clients.compute.virtual_machines
    await account.write(
        f"restarting {instance.name}",
        lambda: api.begin_restart(group, instance.name, polling=False).result(),
    )


# ---- how Azure's rows look to the engine


def instance(account: Account, ref: ClusterRef, row: Shown) -> Instance:
    place, own, name = account.place, tags(row), text(row, "name")
    group = place.group_for(ref)
    state, error = _state_and_error(account, row)
    return Instance(
        id=place.id(group, KIND, name),
        machine_id=machine_id(own, FACTS.tags),
        attempt=int(own.get(TAG_ATTEMPT, "0")),
        name=name,
        role=Role(own.get(TAG_ROLE, Role.WORKER.value)),
        state=state,
        provider_id=provider_id(account, group, name),
        node_name=name.lower(),
        zone=next(iter(_zones(row)), ""),
        addresses=(*_known(account, _interface(row)), ("Hostname", name.lower())),
        image=_image(row),
        error=error,
        created=text(row, "properties", "timeCreated"),
        no_capacity=any(said.partition(":")[0] in CAPACITY for said in error.split("; ")),
    )


def provider_id(account: Account, group: str, name: str) -> str:
    """As Azure's cloud controller manager writes it: the group in small letters."""
    return FACTS.provider_id.format(
        account=account.place.subscription.lower(), group=group.lower(), name=name
    )


def _state(row: Shown) -> InstanceState:
    said = text(row, "properties", "provisioningState").lower()
    return _STATES.get(said, InstanceState.PENDING)


def _state_and_error(account: Account, row: Shown) -> tuple[InstanceState, str]:
    """A machine that runs is told as running, whatever was tried with it last and failed."""
    state, fault = _state(row), account.kept.get((_FAULTS, _key(row)))
    if state is not InstanceState.ERROR:
        return state, ""
    if not isinstance(fault, Fault):
        return state, "provisioning failed"
    return (InstanceState.RUNNING, "") if fault.runs else (state, fault.said)


def _zones(row: Shown) -> list[str]:
    found = part(row, "zones")
    return [str(zone) for zone in found] if isinstance(found, list) else []


def _image(row: Shown) -> str:
    shown = part(row, "properties", "storageProfile", "imageReference")
    for key in ("communityGalleryImageId", "sharedGalleryImageId", "id"):
        if text(shown, key):
            return text(shown, key)
    words = [text(shown, key) for key in ("publisher", "offer", "sku", "version")]
    return ":".join(words) if words[0] else ""


def _interface(row: Shown) -> str:
    found = items(row, "properties", "networkProfile", "networkInterfaces")
    return text(found[0], "id").lower() if found else ""


def _key(row: Shown) -> str:
    return text(row, "properties", "vmId") or text(row, "id").lower()


# ---- addresses and faults


async def _learn(account: Account, group: str) -> None:
    nics = account.clients.network.network_interfaces
    rows = await account.read(
        f"listing the interfaces in {group}", lambda: or_none(lambda: list(nics.list(group)))
    )
    if any(_public_of(row) for row in rows or ()):
        addresses = account.clients.network.public_ip_addresses
        for row in await account.read(
            f"listing the addresses in {group}", lambda: list(addresses.list(group))
        ):
            public = ("ExternalIP", text(row, "properties", "ipAddress"))
            account.kept[_ADDRESSES, text(row, "id").lower()] = (public,)
    for nic in rows or ():
        account.kept[_ADDRESSES, text(nic, "id").lower()] = _addresses_of(nic)


def _addresses_of(nic: Shown) -> Mapping[str, str]:
    """Private address, and the id of the public one."""
    for config in items(nic, "properties", "ipConfigurations"):
        private = text(config, "properties", "privateIPAddress")
        if private:
            return {"private": private, "public": _public_of(nic)}
    return {}


def _public_of(nic: Shown) -> str:
    configs = items(nic, "properties", "ipConfigurations")
    return text(configs[0], "properties", "publicIPAddress", "id").lower() if configs else ""


def _known(account: Account, nic: str) -> Addresses:
    found = account.kept.get((_ADDRESSES, nic))
    if not isinstance(found, Mapping) or not found:
        return ()
    public = account.kept.get((_ADDRESSES, str(found["public"])))
    outside = public if isinstance(public, tuple) else ()
    return (("InternalIP", str(found["private"])), *outside)


async def _fault(account: Account, group: str, row: Shown) -> None:
    """Why a machine failed, and whether it runs nevertheless; asked again after a minute."""
    key, now = (_FAULTS, _key(row)), asyncio.get_running_loop().time()
    before = account.kept.get(key)
    if isinstance(before, Fault) and now - before.asked < POWER_SECONDS:
        return
    name, api = text(row, "name"), account.clients.compute.virtual_machines
    view = await account.read(
        f"asking why {name} failed", lambda: or_none(lambda: api.instance_view(group, name))
    )
    account.kept[key] = _fault_in(view or {}, now)


def _fault_in(view: Shown, now: float) -> Fault:
    statuses = [(text(status, "code").lower(), status) for status in items(view, "statuses")]
    failed = [status for code, status in statuses if text(status, "level") == "Error" or "/failed" in code]
    codes = [text(status, "code").rpartition("/")[2] for status in failed]
    words = [f"{code}: {text(status, 'message')}" for code, status in zip(codes, failed, strict=True)]
    return Fault("; ".join(words) or "provisioning failed", any(code == _ON for code, _ in statuses), now)
