"""What adapters call what they make: names for people, and the keys of the clouds' idempotency."""

from __future__ import annotations

import hashlib

from flatyard.clouds.cloud import ClusterRef, CreateRequest, Instance


def group_of(ref: ClusterRef) -> str:
    """Resource group or folder of a cluster."""
    return f"flatyard-{ref.name}"


def bucket_of(ref: ClusterRef) -> str:
    """The cluster's bucket; bucket names are in small letters and unique in the world."""
    return f"flatyard-{ref.id.lower()}"


def mac_of(token: str) -> str:
    """A locally administered MAC address for a create token: 40 bits, so that a thousand do not collide."""
    digits = hashlib.sha256(token.encode()).hexdigest()[:10]
    return ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])


def token_of(made: CreateRequest | Instance) -> str:
    """The idempotency token of a machine's attempt."""
    return f"{made.machine_id}-{made.attempt}"
