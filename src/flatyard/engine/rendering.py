"""From a Machine to the request that creates it: image, zone, first-boot config, and how the config gets there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flatyard.clouds.cloud import TAG_CLUSTER, TAG_OWNED, CreateRequest, Endpoint, Network, Role
from flatyard.decode import Raw
from flatyard.engine import tokens
from flatyard.engine.context import Context
from flatyard.engine.control_plane import members
from flatyard.engine.delivery import deliver
from flatyard.engine.identity import attempt_of, machine_id_of, pool_of, role_of
from flatyard.engine.images import image_key, kubelet_of, pin_key, provider_of_machine
from flatyard.engine.instances import alive
from flatyard.engine.labels import BOOTSTRAP
from flatyard.engine.pod_network import most_pods
from flatyard.engine.queue import Key, Waiting
from flatyard.engine.record import Chosen
from flatyard.engine.references import read_machine
from flatyard.kube.api import Object
from flatyard.model.annotations import KubeletSettings, kubelet_settings
from flatyard.model.cluster import Cluster
from flatyard.model.machine import ProviderSpec, Taint
from flatyard.model.machines import MachineSpec
from flatyard.node.extras import read_extra
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeFile,
    NodeRole,
    PoolSettings,
    Vip,
)
from flatyard.node.render import NodeTemplate, prepare
from flatyard.sysext.layout import base_of

FIRST_WORKERS = 8
"""So many workers boot together with the first control plane; their tokens ride in its InitConfiguration."""


async def render_request(ctx: Context, machine: Object) -> CreateRequest | Waiting:
    """The create request of the machine's current attempt, or what it must wait for first."""
    provider = provider_of_machine(machine)
    spec = provider.cloud_provider_spec
    if spec is None or provider.cloud != ctx.wanted().spec.cloud.twin:
        cloud = ctx.wanted().spec.cloud.twin
        said = f"cloudProvider {provider.cloud_provider} with its cloudProviderSpec is not one of {cloud}'s machines"
        return Waiting(said, again=600, final=True, next="name the cluster's own cloud in providerSpec.value")
    read = await read_machine(ctx, spec, _owner(ctx, machine))
    if isinstance(read, Waiting):
        return read
    spec, provider = read, replace(provider, cloud_provider_spec=read)
    kubelet = kubelet_of(machine.spec, ctx.wanted().spec.kubernetes.version)
    baked = kubelet if ctx.wanted().spec.kubernetes.flavor == "image" else None
    chosen = ctx.record.images.by_spec.get(image_key(spec, baked))
    network, endpoint = ctx.record.network, ctx.record.endpoint
    if chosen is None:
        ctx.enqueue(Key("cluster"))
        return Waiting("its image is being looked up")
    if network is None or endpoint is None:
        return Waiting("the network and the endpoint are being made", again=60)
    bootstrap = await _bootstrap(ctx, machine, endpoint)
    if isinstance(bootstrap, Waiting):
        return bootstrap
    files = ctx.cloud.node_files(ctx.record.ref, network)
    template = _template(ctx, machine, provider, kubelet, chosen, endpoint, bootstrap, files)
    identity = MachineIdentity(id=machine_id_of(machine), name=machine.name)
    user_data, stash_key = await deliver(ctx, machine, template.render(identity, bootstrap))
    return _request(ctx, machine, spec, chosen, network, user_data, stash_key)


def _request(
    ctx: Context,
    machine: Object,
    spec: MachineSpec,
    chosen: Chosen,
    network: Network,
    user_data: bytes,
    stash_key: str,
) -> CreateRequest:
    return CreateRequest(
        cluster=ctx.record.ref,
        machine_id=machine_id_of(machine),
        attempt=attempt_of(machine),
        name=machine.name,
        role=role_of(machine),
        pool=pool_of(machine),
        zone=ctx.zones.of(machine, spec, network),
        image=chosen.reference,
        machine=spec,
        network=network,
        user_data=user_data,
        stash_key=stash_key,
        tags={TAG_CLUSTER: ctx.record.id, TAG_OWNED: "true"},
    )


async def _bootstrap(ctx: Context, machine: Object, endpoint: Endpoint) -> Bootstrap | Waiting:
    machine_id = machine_id_of(machine)
    if BOOTSTRAP in machine.annotations:
        return await _init(ctx, machine_id)
    if ctx.api is None or ctx.book is not ctx.api:
        found = await tokens.find(ctx.book, machine_id) if role_of(machine) is Role.WORKER else None
        if found is None:
            return Waiting("the Kubernetes API does not answer yet", again=60)
        return JoinWorker(tokens.token_of(found), ctx.secrets.pin)
    token = await tokens.ensure(ctx.book, ctx.world, machine_id)
    if role_of(machine) is Role.WORKER:
        return JoinWorker(token, ctx.secrets.pin)
    return JoinControlPlane(ctx.secrets, token, "" if endpoint.hairpin else _peer(ctx))


async def _init(ctx: Context, machine_id: str) -> Init | Waiting:
    """The first control plane's bootstrap, with the tokens of the workers that boot beside it."""
    wanted = sum(int(d.spec.get("replicas", 1)) for d in ctx.caches.deployments())
    workers = sorted((m for m in ctx.caches.machines() if role_of(m) is Role.WORKER), key=lambda m: m.name)
    if len(workers) < min(wanted, FIRST_WORKERS):
        return Waiting("its first workers are being named", again=1)
    ids = [machine_id_of(m) for m in workers[:FIRST_WORKERS]] or [machine_id]
    made = tuple([MachineToken(await tokens.ensure(ctx.book, ctx.world, i), i) for i in ids])
    for worker in workers[:FIRST_WORKERS]:
        ctx.enqueue(Key("machine", worker.name))
    return Init(ctx.secrets, made, token_ttl_seconds=int(tokens.LIFETIME))


def _peer(ctx: Context) -> str:
    """The address of a living control plane, for joining where the endpoint cannot be used by its own backends."""
    for member in members(ctx):
        instance = ctx.instances.get(machine_id_of(member))
        if instance is not None and alive(instance) and member.status.get("phase") == "Running":
            return next((value for kind, value in instance.addresses if kind == "InternalIP"), "")
    return ""


def _template(
    ctx: Context,
    machine: Object,
    provider: ProviderSpec,
    kubelet: str,
    chosen: Chosen,
    endpoint: Endpoint,
    bootstrap: Bootstrap,
    files: tuple[NodeFile, ...],
) -> NodeTemplate:
    """The pool's prepared config; prepared again when something it was made from changed."""
    first = isinstance(bootstrap, Init)
    annotations = _pool_annotations(ctx, machine)
    pinned = tuple(sorted(annotations.items()))
    traits = ctx.cloud.traits.for_size(
        provider.cloud_provider_spec.size if provider.cloud_provider_spec else ""
    )
    image = ctx.record.images.pins.get(pin_key(kubelet, chosen.arch))
    made_from = (kubelet, chosen, image, endpoint.host, pinned, files, traits, ctx.cluster_generation)
    key = (pool_of(machine), first, *made_from)
    found = ctx.templates.get(key)
    if found is None:
        pool = _pool(ctx, machine, provider, kubelet, chosen, annotations)
        found = prepare(_cluster(ctx, endpoint, files), pool, traits, first=first)
        ctx.templates[key] = found
    return found


def _cluster(ctx: Context, endpoint: Endpoint, files: tuple[NodeFile, ...]) -> ClusterSettings:
    wanted = ctx.wanted()
    spec = wanted.spec
    held = endpoint.held or spec.endpoint.kind == "vip"
    return ClusterSettings(
        name=ctx.record.name,
        id=ctx.record.id,
        kubernetes=spec.kubernetes.version,
        endpoint_host=endpoint.host,
        endpoint_port=endpoint.port,
        endpoint_address=endpoint.address if held else "",
        pods=spec.network.pods,
        node_mask=ctx.record.node_mask,
        services=spec.network.services,
        flavor=spec.kubernetes.flavor,
        patches=spec.kubernetes.patches,
        reboots=spec.updates.reboots,
        cert_sans=(endpoint.address,) if endpoint.address else (),
        vip=Vip(spec.endpoint.address or endpoint.address) if held else None,
        feed=spec.kubernetes.feed_base or _feed_of(ctx),
        files=files,
        exosphere=spec.access.exosphere,
    )


def _pool(
    ctx: Context,
    machine: Object,
    provider: ProviderSpec,
    kubelet: str,
    chosen: Chosen,
    annotations: Mapping[str, str],
) -> PoolSettings:
    template = machine.spec.get("metadata") or {}
    wanted = ctx.wanted()
    return PoolSettings(
        role=NodeRole(role_of(machine).value),
        name=pool_of(machine),
        kubelet=kubelet,
        image=ctx.record.images.pins.get(pin_key(kubelet, chosen.arch)),
        flatcar=ctx.record.images.flatcar,
        labels=dict(template.get("labels") or {}),
        taints=tuple(
            Taint(key=t["key"], value=t.get("value", ""), effect=t["effect"]) for t in _taints(machine)
        ),
        settings=_kubelet(annotations, ctx.record.node_mask),
        system=provider.operating_system_spec,
        ssh_keys=(*wanted.spec.access.ssh_keys, *provider.ssh_public_keys),
        extras=tuple(read_extra(raw) for raw in _extras(wanted, machine, provider)),
        overwrite=read_extra(Raw(provider.overwrite_cloud_config))
        if provider.overwrite_cloud_config
        else None,
    )


def _taints(machine: Object) -> list[dict[str, str]]:
    return list(machine.spec.get("taints") or ())


def _feed_of(ctx: Context) -> str:
    """The feed that pinned images came from; one on loopback was this machine's, and is no node's."""
    bases = (base_of(pinned.url) for pinned in ctx.record.images.pins.values())
    return next((base for base in bases if not base.startswith("http://127.")), "")


def _owner(ctx: Context, machine: Object) -> str:
    """Whose machine spec it is, for sentences."""
    deployment = _deployment(ctx, machine)
    return f"MachineDeployment {deployment.name}" if deployment else f"Machine {machine.name}"


def _pool_annotations(ctx: Context, machine: Object) -> Mapping[str, str]:
    """The annotations of the MachineDeployment that the machine's set belongs to: kubelet settings are there."""
    deployment = _deployment(ctx, machine)
    return deployment.annotations if deployment else {}


def _deployment(ctx: Context, machine: Object) -> Object | None:
    owner = ctx.caches.machine_set(machine.controller.name) if machine.controller else None
    return ctx.caches.deployment(owner.controller.name) if owner and owner.controller else None


def _kubelet(annotations: Mapping[str, str], mask: int) -> KubeletSettings:
    settings = kubelet_settings(annotations)
    return settings if settings.max_pods is not None else replace(settings, max_pods=most_pods(mask))


def _extras(wanted: Cluster, machine: Object, provider: ProviderSpec) -> tuple[Raw, ...]:
    given = wanted.spec.ignition
    by_role = given.control_plane if role_of(machine) is Role.CONTROL_PLANE else given.workers
    inline = provider.operating_system_spec.cloud_init
    return (*given.all, *by_role, *((Raw(inline),) if inline else ()))
