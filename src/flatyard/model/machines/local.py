"""This Linux machine: a node is a systemd-nspawn container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, meta, shape
from flatyard.decode.types import JSON


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMachine:
    """One container and what it may use of the host."""

    cpus: int = field(default=2, metadata=meta(rule=at_least(1)))
    memory_mb: int = field(default=2048, metadata=meta("memoryMB", rule=at_least(512)))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """CPUs and memory in one word."""
        return f"{self.cpus}cpu-{self.memory_mb}mb"

    @property
    def zone(self) -> str:
        """There is one zone: this machine."""
        return ""

    @property
    def image(self) -> str:
        """The image is the host's."""
        return ""
