"""Tags in EC2's spelling, and what a cluster's things are called there."""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.base.world import World, rfc3339
from flatyard.clouds.aws.client import Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.cloud import TAG_CLUSTER, TAG_OWNED, ClusterRef
from flatyard.clouds.tags import cluster_tags

TAG_CREATED = "flatyard-created"
"""When a resource was made, for those whose own API does not tell."""
_BALANCER_LONGEST = 32
_ELBS_OWN = "internal-"


def ccm_tag(ref: ClusterRef) -> str:
    """The tag that cloud-provider-aws knows its cluster by and sets on what it makes."""
    return f"kubernetes.io/cluster/{ref.id}"


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as every API but IAM's and S3's takes them, and those too."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tagged(kind: str, ref: ClusterRef, world: World, name: str) -> list[dict[str, object]]:
    """TagSpecifications for one new resource of a cluster."""
    tags = {**cluster_tags(ref, FACTS.tags), "Name": name, TAG_CREATED: rfc3339(world.now())}
    if kind == "subnet":
        tags[ccm_tag(ref)] = "owned"
    return [{"ResourceType": kind, "Tags": pairs(tags)}]


def ours(ref: ClusterRef) -> list[dict[str, object]]:
    """Filters for what carries our tags."""
    return [
        {"Name": f"tag:{TAG_CLUSTER}", "Values": [ref.id]},
        {"Name": f"tag:{TAG_OWNED}", "Values": ["true"]},
    ]


def are_ours(tags: Mapping[str, str], ref: ClusterRef) -> bool:
    """Whether something that carries these tags is the cluster's and may go with it."""
    return all(tags.get(key) == value for key, value in cluster_tags(ref, FACTS.tags).items())


def tags_of(row: Answer) -> dict[str, str]:
    """A row's tags."""
    return {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())}


def balancer_name(ref: ClusterRef) -> str:
    """Unique in an account by the digits of the cluster id: creating is idempotent by name.

    ELB keeps a beginning for itself (ELB API reference, CreateLoadBalancer, Name).
    """
    digits = ref.id[-10:].lower()
    name = f"fy-{ref.name}" if ref.name.startswith(_ELBS_OWN) else ref.name
    return f"{name[: _BALANCER_LONGEST - len(digits) - 1].strip('-')}-{digits}"


def profile_name(ref: ClusterRef, role: str) -> str:
    """Name of the role and of the instance profile of a cluster's machines."""
    return f"flatyard-{ref.id}-{role}"


def iam_path(ref: ClusterRef) -> str:
    """IAM finds by path prefix, not by tag: everything of a cluster is below this one."""
    return f"/flatyard/{ref.id}/"
