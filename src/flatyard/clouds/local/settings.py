"""Where the local cloud keeps things on this machine, and what it may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flatyard.model.cluster import Cluster

HOME = Path("/var/lib/flatyard/local")
POOL = "10.123.0.0/16"
PREFIX = 24
"""Length of the part of the pool that one cluster takes."""


def _silent(_: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """`home` holds a folder for each cluster, `cache` what is built once (root trees, Ignition).

    `pool` is the range that clusters without a range of their own share. `image` is a directory with usr/ or a Flatcar
    disk image to use instead of the stand-in; empty: the stand-in. `nat`: machines reach the outside through this one.
    `tell` hears one line for each step of what takes long.
    """

    home: Path = HOME
    cache: Path = field(default_factory=lambda: Path.home() / ".cache/flatyard")
    pool: str = POOL
    image: str = ""
    nat: bool = False
    images: Path | None = None
    """A folder of archives that each machine's containerd imports before its kubelet starts."""
    tell: Callable[[str], None] = _silent


def settings(environment: Mapping[str, str] = os.environ) -> LocalSettings:
    """From FLATYARD_LOCAL_HOME, FLATYARD_CACHE, FLATYARD_LOCAL_POOL, FLATYARD_LOCAL_IMAGE and FLATYARD_LOCAL_NAT."""
    plain = LocalSettings()
    return LocalSettings(
        home=Path(environment.get("FLATYARD_LOCAL_HOME") or plain.home),
        cache=Path(environment.get("FLATYARD_CACHE") or plain.cache),
        pool=environment.get("FLATYARD_LOCAL_POOL") or plain.pool,
        image=environment.get("FLATYARD_LOCAL_IMAGE", ""),
        nat=environment.get("FLATYARD_LOCAL_NAT", "") not in ("", "0"),
    )


def for_cluster(place: LocalSettings, cluster: Cluster) -> LocalSettings:
    """As a cluster's file has it: its `image` is used before that of the variable, which is there for all clusters."""
    local = cluster.spec.cloud.local
    return replace(place, image=local.image) if local and local.image else place


def architecture() -> str:
    """This machine's, as Kubernetes names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
