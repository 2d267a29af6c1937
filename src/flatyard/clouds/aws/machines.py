"""Instances: created once by their client token, found by tag, ended and restarted."""

from __future__ import annotations

import asyncio

from flatyard.base.world import rfc3339
from flatyard.clouds import tags
from flatyard.clouds.aws import disks, profiles, spot
from flatyard.clouds.aws.answers import CAPACITY, ENDED, MISMATCH, missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.images import image
from flatyard.clouds.aws.naming import ccm_tag, ours, pairs, profile_name, tags_of
from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_MACHINE,
    TAG_ROLE,
    ClusterRef,
    CreateRequest,
    Instance,
    InstanceState,
    Rejected,
    Role,
    Transient,
)
from flatyard.model.machines import AwsMachine

HOP_LIMIT = 1
"""Hops that an answer of the metadata service lives: one ends at the machine, so that pods get none."""
_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPED,
    "stopped": InstanceState.STOPPED,
    "shutting-down": InstanceState.DELETING,
    "terminated": InstanceState.TERMINATED,
}
_NO_PROFILE = "InvalidParameterValue"
_ASKED_FOR = ("Client.UserInitiated", "Client.InstanceInitiatedShutdown", "Client.InstanceTerminated")
"""Beginnings of reasons for an end that somebody wanted (EC2 API reference, StateReason). All others are the cloud's
own: no room, a limit of volumes, a key of KMS' that does not open the disk."""
_KEY = "; as a rule the credentials may not use the KMS key of an encrypted volume (kms:CreateGrant)"
_HINTS = {"Client.InternalError": _KEY}
"""What a reason means that does not say it (EC2 user guide, "Instance terminates immediately")."""


class Known:
    """What never changes of an image or an instance, so that it is asked for once; nothing depends on it."""

    def __init__(self) -> None:
        self._roots: dict[str, str] = {}
        self._asking = asyncio.Lock()
        self._on_demand: dict[str, None] = {}

    async def root(self, account: Account, reference: str) -> str:
        """The root device's name in an image; Flatcar's where the image does not tell."""
        async with self._asking:
            if reference not in self._roots:
                row = await image(account, reference)
                self._roots[reference] = str((row or {}).get("RootDeviceName") or FACTS.root_device)
            return self._roots[reference]

    def seen(self, row: Answer) -> Answer:
        """A row of an instance; what EC2 calls spot in none of them has no request that would start another."""
        if row.get("InstanceLifecycle") is None and not row.get("SpotInstanceRequestId"):
            self._on_demand[row["InstanceId"]] = None
        return row

    def on_demand(self, key: str) -> bool:
        return key in self._on_demand


async def listed(account: Account, ref: ClusterRef, known: Known | None = None) -> tuple[Instance, ...]:
    """Every instance with the cluster's tags."""
    rows = await account.pages(
        f"listing the machines of {ref.name}",
        "ec2",
        "describe_instances",
        "Reservations",
        Filters=ours(ref),
        MaxResults=FACTS.behaviour.page,
    )
    known = known or Known()
    return tuple(
        instance(known.seen(row), account.region) for reservation in rows for row in reservation["Instances"]
    )


async def create(account: Account, request: CreateRequest, known: Known) -> Instance:
    """Create it, or return what an earlier call with the same token made."""
    order = await order_of(account, request, known)
    what = f"creating {request.name}"
    given = request.network.adopted or _spec(request).security_group_ids
    run = account.write if given else account.follow
    try:
        answer = await run(what, "ec2", "run_instances", **order)
    except Rejected as no:
        if no.code in (MISMATCH, ENDED):
            return await _made_before(account, request, no)
        raise
    except Transient as no:
        if no.code == _NO_PROFILE and not _spec(request).instance_profile.value:
            await profiles.ensure(account, request.cluster, request.role)
        raise
    row = answer["Instances"][0]
    return instance(row if _spec(request).is_spot_instance else known.seen(row), account.region)


async def delete(account: Account, instance: Instance, known: Known) -> None:
    """A persistent spot request goes first: it would start another instance."""
    what = f"deleting {instance.name}"
    filters = [
        {"Name": "instance-id", "Values": [instance.id]},
        {"Name": "state", "Values": ["open", "active"]},
    ]
    rows: list[Answer] = []
    if not known.on_demand(instance.id):
        rows = await account.pages(
            what, "ec2", "describe_spot_instance_requests", "SpotInstanceRequests", Filters=filters
        )
    for row in rows:
        await cancel_spot(account, row["SpotInstanceRequestId"])
    await terminate(account, instance.id, what)


async def terminate(account: Account, key: str, what: str) -> None:
    with missing_is_fine():
        await account.write(what, "ec2", "terminate_instances", InstanceIds=[key])


async def cancel_spot(account: Account, key: str) -> None:
    with missing_is_fine():
        await account.write(
            f"cancelling {key}", "ec2", "cancel_spot_instance_requests", SpotInstanceRequestIds=[key]
        )


async def restart(account: Account, instance: Instance) -> None:
    what = f"restarting {instance.name}"
    await account.write(what, "ec2", "reboot_instances", InstanceIds=[instance.id])


def instance(row: Answer, region: str) -> Instance:
    """A row of EC2's as the engine knows it."""
    own = tags_of(row)
    zone = row.get("Placement", {}).get("AvailabilityZone", "")
    state, error = _state(row)
    launched = row.get("LaunchTime")
    return Instance(
        id=row["InstanceId"],
        machine_id=tags.machine_id(own, FACTS.tags),
        attempt=int(own.get(TAG_ATTEMPT, "0")),
        name=own.get("Name", ""),
        role=Role(own.get(TAG_ROLE, Role.WORKER.value)),
        state=state,
        provider_id=FACTS.provider_id.format(zone=zone, id=row["InstanceId"]),
        node_name=row.get("PrivateDnsName", ""),
        zone=zone,
        addresses=_addresses(row),
        image=row.get("ImageId", ""),
        error=error,
        created=rfc3339(launched) if launched else "",
        no_capacity=str(row.get("StateReason", {}).get("Code", "")).removeprefix("Server.") in CAPACITY,
    )


def _addresses(row: Answer) -> tuple[tuple[str, str], ...]:
    found = (
        ("InternalIP", row.get("PrivateIpAddress")),
        ("ExternalIP", row.get("PublicIpAddress")),
        ("InternalDNS", row.get("PrivateDnsName")),
        ("Hostname", row.get("PrivateDnsName")),
        ("ExternalDNS", row.get("PublicDnsName")),
    )
    return tuple((kind, value) for kind, value in found if value)


def _state(row: Answer) -> tuple[InstanceState, str]:
    """The state, and why the cloud ended or stopped it when nobody asked for that: a stopped one is in ERROR then."""
    state = _STATES.get(row["State"]["Name"], InstanceState.PENDING)
    reason = row.get("StateReason", {})
    blamed = state in (InstanceState.TERMINATED, InstanceState.STOPPED, InstanceState.DELETING)
    code = str(reason.get("Code", ""))
    if not blamed or not code or code.startswith(_ASKED_FOR):
        return state, ""
    words = str(reason.get("Message") or code) + _HINTS.get(code, "")
    return (InstanceState.ERROR if state is InstanceState.STOPPED else state), words


async def _made_before(account: Account, request: CreateRequest, no: Rejected) -> Instance:
    """What the token made with other parameters, or what was terminated: of that id and attempt it is this machine's.

    An instance that no list shows any more was terminated all the same, so that another attempt is due.
    """
    filters = [
        *ours(request.cluster),
        {"Name": f"tag:{TAG_MACHINE}", "Values": [request.machine_id]},
        {"Name": f"tag:{TAG_ATTEMPT}", "Values": [str(request.attempt)]},
    ]
    what = f"looking for {request.name}"
    rows = await account.pages(what, "ec2", "describe_instances", "Reservations", Filters=filters)
    for reservation in rows:
        for row in reservation["Instances"]:
            return instance(row, account.region)
    if no.code != ENDED:
        raise no
    return Instance(
        id=request.token,
        machine_id=request.machine_id,
        attempt=request.attempt,
        name=request.name,
        role=request.role,
        state=InstanceState.TERMINATED,
        provider_id=FACTS.provider_id.format(zone=request.zone, id=request.token),
        node_name="",
        zone=request.zone,
        error="it was terminated, and EC2 shows it no more",
    )


# ---- what is asked of EC2


def _spec(request: CreateRequest) -> AwsMachine:
    assert isinstance(request.machine, AwsMachine)
    return request.machine


async def order_of(account: Account, request: CreateRequest, known: Known) -> dict[str, object]:
    """The parameters of RunInstances, the same for the same request."""
    machine = _spec(request)
    root = await known.root(account, request.image)
    profile = machine.instance_profile.value or profile_name(request.cluster, request.role.value)
    order: dict[str, object] = {
        "ClientToken": request.token,
        "ImageId": request.image,
        "InstanceType": machine.size,
        "MinCount": 1,
        "MaxCount": 1,
        "UserData": request.user_data,
        "IamInstanceProfile": {"Arn" if profile.startswith("arn:") else "Name": profile},
        "NetworkInterfaces": [_interface(request, machine)],
        "BlockDeviceMappings": disks.mappings(machine, request.role, root),
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": machine.metadata_hop_limit or HOP_LIMIT,
        },
        "PrivateDnsNameOptions": {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False},
        "TagSpecifications": _tags(request, machine),
    }
    if machine.is_spot_instance:
        order["InstanceMarketOptions"] = spot.options(machine)
    return order


def _interface(request: CreateRequest, machine: AwsMachine) -> dict[str, object]:
    own = [group.value for group in machine.security_group_ids if group.value]
    return {
        "DeviceIndex": 0,
        "SubnetId": machine.subnet_id.value or _subnet(request, machine),
        "Groups": own or [request.network.security_groups[request.role.value]],
        "AssociatePublicIpAddress": machine.assign_public_ip is not False,
        "DeleteOnTermination": True,
    }


def _subnet(request: CreateRequest, machine: AwsMachine) -> str:
    """The subnet of the wanted zone; without a wish, one by the machine's id, so that machines spread."""
    network = request.network
    zone = request.zone or machine.zone
    if not zone:
        return network.subnets[sum(request.machine_id.encode()) % len(network.subnets)]
    if zone not in network.zones:
        raise Rejected(
            f"creating {request.name}: the network has no subnet in zone {zone}",
            code="InvalidSubnetID.NotFound",
            next=f"it has zones {', '.join(network.zones)}; name the zone under cloud.aws.availabilityZones",
        )
    return network.subnets[network.zones.index(zone)]


def _tags(request: CreateRequest, machine: AwsMachine) -> list[dict[str, object]]:
    own = {**machine.tags, **tags.machine_tags(request, FACTS.tags), "Name": request.name}
    own[ccm_tag(request.cluster)] = "owned"
    kinds = ["instance", "volume", "network-interface"]
    if machine.is_spot_instance:
        kinds.append("spot-instances-request")
    return [{"ResourceType": kind, "Tags": pairs(own)} for kind in kinds]
