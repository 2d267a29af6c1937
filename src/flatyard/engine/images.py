"""Which image each machine boots: resolved once for each machine spec, then recorded and used until told otherwise.

A channel moves; a fleet must not move with it by itself. So the Flatcar release is fixed at the first look, and
a later machine gets what the record says (DESIGN §3 "Nodes").
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from flatyard.base.errors import Failed, InvalidInput
from flatyard.clouds.cloud import Image, ImageQuery, Role
from flatyard.decode import encode, from_json
from flatyard.engine.context import Context
from flatyard.engine.control_plane import spec_of
from flatyard.engine.identity import role_of
from flatyard.engine.queue import Key, Waiting
from flatyard.engine.record import Chosen, Images
from flatyard.engine.references import read_machine
from flatyard.kube.api import Json, Object
from flatyard.kube.resources import MACHINES
from flatyard.model.machine import ProviderSpec
from flatyard.model.machines import MachineSpec
from flatyard.model.meant import as_meant, kubelet_version
from flatyard.model.references import without_account
from flatyard.sysext.layout import base_of


def image_key(spec: MachineSpec, kubernetes: str | None) -> str:
    """What an image was resolved for: the machine spec and, for baked images, the Kubernetes version."""
    text = json.dumps([encode(spec), kubernetes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


async def resolve_images(ctx: Context) -> Waiting | None:
    """Record an image and a pinned extension for every machine spec in use that has none yet."""
    images = ctx.record.images
    image_flavor = ctx.wanted().spec.kubernetes.flavor == "image"
    for spec, kubelet in await _specs(ctx):
        key = image_key(spec, kubelet if image_flavor else None)
        if key not in images.by_spec:
            found = await _look_up(ctx, spec, kubelet if image_flavor else None, images)
            chosen = {**images.by_spec, key: Chosen(found.reference, found.arch)}
            images = replace(images, flatcar=images.flatcar or found.version, by_spec=chosen)
        if not image_flavor:
            images = await _pin(ctx, images, kubelet, images.by_spec[key].arch)
    if images != ctx.record.images:
        await ctx.save(replace(ctx.record, images=images))
        for machine in ctx.caches.machines():
            ctx.enqueue(Key("machine", machine.name))
    return None


async def _pin(ctx: Context, images: Images, kubelet: str, arch: str) -> Images:
    """The images with an extension for this kubelet, and where the file says that it is.

    Raises Failed when the file names another feed than before and that one has other bytes.
    """
    wanted, key = ctx.wanted().spec.kubernetes.feed_base, pin_key(kubelet, arch)
    known = images.pins.get(key)
    if known is not None and wanted in ("", base_of(known.url)):
        return images
    feed = await ctx.seams.feeds.feed(wanted)
    found = feed.image(kubelet, arch)
    if known is not None and wanted == feed.base and found.sha256 != known.sha256:
        raise Failed(
            f"{wanted} has another Kubernetes {kubelet} for {arch} than this cluster's machines run",
            why=f"its sha256 is {found.sha256}, and {known.sha256} is pinned, from {base_of(known.url)}",
            next="name the former feed in spec.kubernetes.feed, or put its image into the new one",
        )
    return replace(images, pins={**images.pins, key: found})


def pin_key(version: str, arch: str) -> str:
    return f"{version}/{arch}"


async def _look_up(ctx: Context, spec: MachineSpec, kubernetes: str | None, known: Images) -> Image:
    flatcar = ctx.wanted().spec.flatcar
    query = ImageQuery(
        channel=flatcar.channel,
        # baked images have one Flatcar release for each Kubernetes version: the first one's does not bind the next
        version=flatcar.version if kubernetes else known.flatcar or flatcar.version,
        machine=spec,
        kubernetes=kubernetes,
    )
    found = await ctx.cloud.images(query)
    if not found:
        wanted = query.version or f"channel {query.channel}"
        baked = f" with Kubernetes {kubernetes} baked in" if kubernetes else ""
        raise Failed(
            f"{ctx.cloud.name} has no Flatcar image for {wanted}{baked}",
            why="new releases reach a region's images days after they are published",
            next="set spec.flatcar.version to a release that the region has",
        )
    return found[0]


async def _specs(ctx: Context) -> list[tuple[MachineSpec, str]]:
    """Those whose references can be read; a machine of another one tells what is missing."""
    version = ctx.wanted().spec.kubernetes.version
    specs = [(without_account(spec_of(ctx.wanted())), version)]
    for owner in (*ctx.caches.deployments(), *_alone(ctx)):
        template = _machine_spec(owner)
        try:
            spec = provider_of(template).cloud_provider_spec
        except InvalidInput:
            continue  # its own reconciler tells
        read = await read_machine(ctx, spec, owner.name) if spec is not None else None
        if read is not None and not isinstance(read, Waiting):
            specs.append((read, kubelet_of(template, version)))
    return specs


def _machine_spec(owner: Object) -> Json:
    if owner.kind == MACHINES.kind:
        return owner.spec
    template: Json = owner.spec.get("template") or {}
    return template.get("spec") or {}


def _alone(ctx: Context) -> list[Object]:
    """Machines that belong to no set, such as one that somebody applied by itself."""
    return [m for m in ctx.caches.machines() if m.controller is None and role_of(m) is Role.WORKER]


def kubelet_of(machine_spec: Json, cluster_version: str) -> str:
    """The kubelet version that a Machine (or a template) asks for; the cluster's own when it asks for none."""
    return kubelet_version(str((machine_spec.get("versions") or {}).get("kubelet") or ""), cluster_version)


def provider_of(machine_spec: Json) -> ProviderSpec:
    """The typed provider spec in a Machine's (or a template's) `spec`."""
    source = machine_spec.get("providerSpec") or {}
    return as_meant(from_json(ProviderSpec, source.get("value")))


def provider_of_machine(machine: Object) -> ProviderSpec:
    return provider_of(machine.spec)
