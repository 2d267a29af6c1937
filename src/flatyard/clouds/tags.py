"""Our tags on what a cluster has at its cloud, in the spelling that the cloud allows."""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_MACHINE,
    TAG_OWNED,
    TAG_ROLE,
    ClusterRef,
    CreateRequest,
)
from flatyard.clouds.facts import TagRule

OWNED = "true"


def spelled(tags: Mapping[str, str], rule: TagRule) -> dict[str, str]:
    """The tags as this cloud takes them: in small letters where it refuses others (ULIDs survive that)."""
    return {key: value.lower() if rule.lower_only else value for key, value in tags.items()}


def cluster_tags(ref: ClusterRef, rule: TagRule) -> dict[str, str]:
    """What everything of a cluster carries, and what its resources are found by."""
    return spelled({TAG_CLUSTER: ref.id, TAG_OWNED: OWNED}, rule)


def machine_tags(request: CreateRequest, rule: TagRule) -> dict[str, str]:
    """What an instance carries: the user's tags, and ours over them."""
    own = {
        TAG_CLUSTER: request.cluster.id,
        TAG_OWNED: OWNED,
        TAG_MACHINE: request.machine_id,
        TAG_ROLE: request.role.value,
        TAG_ATTEMPT: str(request.attempt),
    }
    return {**request.tags, **spelled(own, rule)}


def machine_id(tags: Mapping[str, str], rule: TagRule) -> str:
    """The machine id in the tags, in its own spelling; empty when there is none."""
    found = tags.get(TAG_MACHINE, "")
    return found.upper() if rule.lower_only else found
