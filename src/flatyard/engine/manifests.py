"""What every cluster needs before its first pod: definitions of our kinds, rights of joining nodes, a pod network.

Objects are created when missing and brought back to what they shall be when they differ in a field that we set;
fields that others added stay. kube-proxy and CoreDNS are kubeadm's own.
"""

from __future__ import annotations

from flatyard.engine.context import Context
from flatyard.engine.flannel import flannel
from flatyard.engine.node_rights import node_rights
from flatyard.engine.queue import Waiting
from flatyard.kube import resources as r
from flatyard.kube.api import AlreadyExists, Api, ApiError, Json, NotFound
from flatyard.kube.crds import definitions
from flatyard.kube.resources import Resource
from flatyard.model.cluster import Cluster

APPLY_AGAIN = 600.0

_RESOURCES: dict[str, Resource] = {
    resource.kind: resource
    for resource in (
        r.NAMESPACES,
        r.SERVICE_ACCOUNTS,
        r.CONFIGMAPS,
        r.CLUSTER_ROLES,
        r.CLUSTER_ROLE_BINDINGS,
        r.ROLES,
        r.ROLE_BINDINGS,
        r.DAEMON_SETS,
        r.DEPLOYMENTS,
        r.CUSTOM_RESOURCE_DEFINITIONS,
    )
}


def base_manifests(cluster: Cluster) -> tuple[Json, ...]:
    """What `apply_base` keeps, in the order in which it is created."""
    return flannel(cluster.spec.network.pods) if cluster.spec.network.cni == "flannel" else ()


async def apply_definitions(api: Api) -> None:
    """Let the API serve our kinds."""
    for definition in definitions():
        await apply_object(api, definition)


async def apply_rights(ctx: Context) -> Waiting | None:
    """Give joining machines their rights as soon as the API answers, before anything that may have to wait.

    The first workers' tokens are there from kubeadm's hand: who joins before the bindings are is refused.
    """
    assert ctx.api is not None
    if ctx.ensured_lately("rights", APPLY_AGAIN):
        return None
    for manifest in node_rights():
        await apply_object(ctx.api, manifest)
    ctx.note_ensured("rights")
    return None


async def apply_base(ctx: Context) -> Waiting | None:
    """Create or mend the base manifests."""
    assert ctx.api is not None
    if ctx.ensured_lately("manifests", APPLY_AGAIN):
        return None
    for manifest in base_manifests(ctx.wanted()):
        await apply_object(ctx.api, manifest)
    ctx.note_ensured("manifests")
    return None


async def apply_object(api: Api, manifest: Json) -> None:
    """Create the object, or merge what it lacks of `manifest` into it."""
    resource = _RESOURCES[manifest["kind"]]
    metadata = manifest["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    try:
        found = await api.get(resource, namespace, name)
    except NotFound:
        await _create(api, resource, manifest)
        return
    patch = lacking(found.raw, manifest)
    if patch:
        await api.merge_patch(resource, namespace, name, patch)


async def _create(api: Api, resource: Resource, manifest: Json) -> None:
    try:
        await api.create(resource, manifest)
    except AlreadyExists:
        return
    except ApiError as error:
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        error.why = error.why or f"while creating the base manifest {where}"
        raise


def lacking(present: Json, wanted: Json) -> Json:
    """The merge patch that gives `present` what `wanted` says; lists are taken as a whole."""
    patch: Json = {}
    for name, value in wanted.items():
        have = present.get(name)
        if isinstance(value, dict) and isinstance(have, dict):
            inner = lacking(have, value)
            if inner:
                patch[name] = inner
        elif isinstance(value, list) and isinstance(have, list):
            if not _covers(have, value):
                patch[name] = value
        elif have != value:
            patch[name] = value
    return patch


def _covers(present: list[object], wanted: list[object]) -> bool:
    """Whether a list says what `wanted` says; the server may have added defaults inside its items."""
    if len(present) != len(wanted):
        return False
    for have, want in zip(present, wanted, strict=True):
        if isinstance(have, dict) and isinstance(want, dict):
            if lacking(have, want):
                return False
        elif have != want:
            return False
    return True
