"""The moments of a machine's first boot that are stamped, in the order that `layout` describes.

A cloud or a simulated machine tells those that it knows; `operate.timing` makes durations of them.
"""

from __future__ import annotations

from enum import StrEnum


class Milestone(StrEnum):
    """One moment. Ignition is before the power where it runs outside of the machine."""

    POWER = "power"
    """The machine was switched on: a container's first process, a server's firmware."""
    IGNITION = "ignition"
    """Ignition started."""
    IGNITED = "ignited"
    """Ignition was done."""
    MERGING = "merging"
    """systemd-sysext started."""
    MERGED = "merged"
    """The extensions' programs and units are there."""
    CONTAINERD_STARTING = "containerd-starting"
    CONTAINERD = "containerd"
    """containerd answers."""
    IMPORTING = "importing"
    """The import of image archives started, where there is one."""
    IMPORTED = "imported"
    INITIALISING = "initialising"
    """The unit that runs kubeadm init started for the first time."""
    WAITING = "waiting"
    """The unit that runs kubeadm join started for the first time: it waits until the API answers."""
    JOINING = "joining"
    """The API answered, and kubeadm join started for the first time."""
    DISCOVERED = "discovered"
    """kubeadm join has read what the cluster publishes about itself."""
    JOINED = "joined"
    """kubeadm was done: initialised or joined."""
    REGISTERED = "registered"
    """The node's object was there."""
    READY = "ready"
    """The node was Ready for the first time."""
