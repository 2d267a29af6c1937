"""Which AWS account and region a Cluster means, and by whose credentials: what the file and the environment say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flatyard.decode.types import ConfigVar
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """An account and region. Empty credentials: found as the `aws` command finds them.

    `role`, `external_id`: a role to assume with them (machine-controller's assumeRoleARN, assumeRoleExternalID).
    """

    region: str
    profile: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    role: str = ""
    external_id: str = field(default="", repr=False)
    keys_at: str = field(default="", compare=False)
    """Path of the machine spec that names the keys."""


def settings_of(cluster: Cluster, environment: Mapping[str, str] | None = None) -> AwsSettings:
    """The file's account: the first machine spec that names keys or a role, else what the environment has."""
    environ = os.environ if environment is None else environment
    chosen = cluster.spec.cloud.aws
    found = dict(_specs(cluster))
    specs = found.values()
    named = ((at, m) for at, m in found.items() if m.access_key_id.value and m.secret_access_key.value)
    keys_at, keys = next(named, ("", AwsMachine()))
    return AwsSettings(
        region=chosen.region if chosen else "",
        profile=chosen.profile if chosen else "",
        access_key_id=keys.access_key_id.value,
        secret_access_key=keys.secret_access_key.value,
        role=_first(m.assume_role_arn for m in specs) or environ.get("AWS_ASSUME_ROLE_ARN", ""),
        external_id=_first(m.assume_role_external_id for m in specs)
        or environ.get("AWS_ASSUME_ROLE_EXTERNAL_ID", ""),
        keys_at=keys_at,
    )


def machines(cluster: Cluster) -> Iterator[AwsMachine]:
    """Every machine spec in the cluster file."""
    for _, machine in _specs(cluster):
        yield machine


def _specs(cluster: Cluster) -> Iterator[tuple[str, AwsMachine]]:
    """With the path of each."""
    pools = ((f"spec.workers[{n}].machine", pool.machine) for n, pool in enumerate(cluster.spec.workers))
    for path, machine in (("spec.controlPlane.machine", cluster.spec.control_plane.machine), *pools):
        if isinstance(machine, AwsMachine):
            yield path, machine


def _first(values: Iterator[ConfigVar]) -> str:
    return next((value.value for value in values if value.value), "")
