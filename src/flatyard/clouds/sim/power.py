"""The seam between an instance and the simulated machine that runs in it.

The provider says when power goes on and off; what happens then is the machine's business. The machine writes
its console through `Hardware.console` and finds its own disk by the instance id, so that `start` after a
restart of the whole simulation goes on where the machine was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from flatyard.ignition.fetch import Fetcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Everything that an instance gives its machine. Addresses are pairs of Kubernetes address type and
    value.
    """

    instance_id: str
    machine_id: str
    number: int
    """The account's how-manieth instance this is, from 1: what `@machine=` in a fault means."""
    name: str
    hostname: str
    node_name: str
    provider_id: str
    region: str
    zone: str
    addresses: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    """Block devices that exist: the root disk and, where there is one, the etcd disk."""
    arch: str
    vcpus: int
    memory_mib: int
    image_version: str
    image_channel: str
    kubernetes: str | None
    """The Kubernetes version that is baked into the image; None for a plain Flatcar image."""
    platform: str
    """Flatcar's `ignition.platform.id`."""
    user_data: bytes = field(repr=False)
    console: Callable[[str], None] = field(repr=False, compare=False)
    """Appends one line to the serial console."""
    fetcher: Fetcher = field(repr=False, compare=False)
    """The network as Ignition on this machine sees it."""


class BootFaults:
    """What goes wrong in machines rather than at the API; this one: nothing."""

    def delay(self, number: int) -> float | None:
        """Seconds by which the instance's first boot is late, None when it never comes."""
        return 0.0

    def sysext(self, number: int) -> str:
        """What befalls its Kubernetes extension on the way: `corrupt`, `missing` or nothing."""
        return ""


class Machines(Protocol):
    """What runs in the instances."""

    def start(self, power: Power) -> None:
        """Power on; called again for a running instance after the simulation itself was restarted."""
        ...

    def stop(self, instance_id: str) -> None:
        """Power off for good: the instance is being deleted, and its disk with it. It may be gone already."""
        ...

    def cut(self, instance_id: str) -> None:
        """Power off as a failing zone does; `start` brings the same machine back with its disk."""
        ...

    def restart(self, instance_id: str) -> None:
        """Off and on again, with the same disk."""
        ...


class NoMachines:
    """Instances in which nothing runs."""

    def start(self, power: Power) -> None:
        return

    def stop(self, instance_id: str) -> None:
        return

    def cut(self, instance_id: str) -> None:
        return

    def restart(self, instance_id: str) -> None:
        return
