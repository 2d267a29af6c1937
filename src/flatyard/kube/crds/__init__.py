"""Our CustomResourceDefinitions, as they are installed in a cluster."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from flatyard.kube.api import Json
from flatyard.kube.kinds import Kind, from_definition
from flatyard.kube.merge import clone

NAMES = (
    "machines.cluster.k8s.io",
    "machinesets.cluster.k8s.io",
    "machinedeployments.cluster.k8s.io",
    "clusters.flatyard.dev",
)


@cache
def _read(name: str) -> Json:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition: Json = yaml.load(files(__package__).joinpath(f"{name}.yaml").read_bytes(), loader)
    return definition


def definitions() -> tuple[Json, ...]:
    """The four definitions; the caller may change them."""
    return tuple(clone(_read(name)) for name in NAMES)


@cache
def kinds() -> tuple[Kind, ...]:
    """The kinds that the definitions make, with their schemas."""
    return tuple(from_definition(definition) for definition in definitions())
