"""How our tags are written on what a project has.

Neutron takes tags only in a second call, which a crash may cut off; the description goes with the create itself. So
everything of Neutron says in its description whose it is, and what is made rarely has the tags too. Servers have
metadata for everything and two tags for finding them: Nova filters by tags, not by metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.clouds.cloud import TAG_CLUSTER, TAG_MACHINE, TAG_OWNED, ClusterRef, CreateRequest
from flatyard.clouds.naming import token_of
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.tags import OWNED, cluster_tags, machine_tags
from flatyard.model.machines import OpenstackMachine

TAG_TOKEN = "flatyard-token"
"""A server's tag with machine id and attempt."""
IMAGE = "flatyard-image"
"""A server's metadata: the image that it booted, which Nova does not tell of one that boots from a volume."""
OURS = (TAG_CLUSTER, TAG_OWNED, TAG_MACHINE)


def described(ref: ClusterRef, machine_id: str = "") -> str:
    """The description of what a cluster, or one of its machines, has in Neutron."""
    own = cluster_tags(ref, FACTS.tags)
    if machine_id:
        own[TAG_MACHINE] = machine_id
    return " ".join(f"{key}={value}" for key, value in own.items())


def labels(ref: ClusterRef) -> list[str]:
    """The same as tags."""
    return described(ref).split()


def read(thing: object) -> Mapping[str, str]:
    """Our tags on something of Neutron or Octavia, wherever they are written."""
    words = (getattr(thing, "description", None) or "").split()
    words += list(getattr(thing, "tags", None) or ())
    pairs = (word.split("=", 1) for word in words if "=" in word)
    return {key: value for key, value in pairs if key in OURS}


def is_of(found: Mapping[str, str], ref: ClusterRef) -> bool:
    return found.get(TAG_CLUSTER) == ref.id and found.get(TAG_OWNED) == OWNED


def server_tags(request: CreateRequest) -> list[str]:
    return [server_tag(request.cluster), f"{TAG_TOKEN}={token_of(request)}"]


def server_tag(ref: ClusterRef) -> str:
    return f"{TAG_CLUSTER}={ref.id}"


def metadata(request: CreateRequest) -> dict[str, str]:
    """A server's metadata: what the user wants there, and ours over it."""
    machine = request.machine
    own = machine_tags(request, FACTS.tags)
    if not isinstance(machine, OpenstackMachine):
        return own
    image = {IMAGE: request.image} if machine.root_disk_size_gb else {}
    return {**machine.tags, **own, **image}
