"""The CustomResourceDefinitions of our kinds, as they are shipped with the package."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import cast

import yaml

from flatyard.kube.api import Json


@cache
def definitions() -> tuple[Json, ...]:
    """Each definition once, in order of its name."""
    folder = resources.files("flatyard.kube") / "crds"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(cast(Json, yaml.load(f.read_text("utf-8"), Loader=yaml.CSafeLoader)) for f in files)
