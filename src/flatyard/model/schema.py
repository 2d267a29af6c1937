"""JSON Schemas of every kind that a user may write, for editors."""

from __future__ import annotations

from flatyard.decode.schema import Schema, schema_of
from flatyard.model.cluster import Cluster
from flatyard.model.machine import Machine, MachineDeployment, MachineSet


def schemas() -> dict[str, Schema]:
    """Kind to schema."""
    return {cls.__name__: schema_of(cls) for cls in (Cluster, MachineDeployment, MachineSet, Machine)}
