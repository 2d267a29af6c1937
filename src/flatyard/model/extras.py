"""The user's own Butane and Ignition, in the order in which it is merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flatyard.decode.node import Node
from flatyard.decode.types import JSON, Raw
from flatyard.model.cluster import Cluster
from flatyard.model.machine import ProviderSpec


@dataclass(frozen=True, slots=True)
class Extra:
    """One config: exactly one of ``text``, ``value`` (inline mapping) and ``file`` is given.

    ``where`` names it in messages; ``node`` has its places when it came from a text.
    """

    where: str
    text: str | None = None
    value: JSON = None
    file: str | None = None
    node: Node | None = field(default=None, compare=False, repr=False)


def cluster_extras(cluster: Cluster, role: Literal["control-plane", "worker"]) -> tuple[Extra, ...]:
    """What a Cluster adds to machines of this role: ``all`` first, then the role's own."""
    ignition = cluster.spec.ignition
    own = (
        ("controlPlane", ignition.control_plane) if role == "control-plane" else ("workers", ignition.workers)
    )
    return tuple(
        _extra(f"spec.ignition.{field}[{index}]", entry)
        for field, entries in (("all", ignition.all), own)
        for index, entry in enumerate(entries)
    )


def pool_extras(provider: ProviderSpec) -> tuple[Extra, ...]:
    """What a MachineDeployment adds to its own machines."""
    text = provider.operating_system_spec.cloud_init
    return (Extra("operatingSystemSpec.cloudInit", text=text),) if text else ()


def files(cluster: Cluster) -> tuple[str, ...]:
    """Every file that the Cluster's extras name, as written, once each."""
    roles: tuple[Literal["control-plane", "worker"], ...] = ("control-plane", "worker")
    named = (extra.file for role in roles for extra in cluster_extras(cluster, role))
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _extra(where: str, entry: Raw) -> Extra:
    if isinstance(entry.value, str):
        return Extra(where, text=entry.value, node=entry.node)
    if isinstance(entry.value, dict) and isinstance(entry.value.get("file"), str):
        return Extra(where, file=str(entry.value["file"]), node=entry.node)
    return Extra(where, value=entry.value, node=entry.node)
