"""What only a container needs, as an Ignition config of its own beside the user data.

Ignition merges the files of its folder `base.d` below the user data: the base comes first and the user's config is
laid over it, so what a user says always holds, and the user data stays byte for byte what another cloud would have
got. A second run would be the other way: ours would win, and what the first run wrote could not be told from it.

    network      address, gateway and names, as a cloud's DHCP would give them
    cgroups      v1 controllers are mounted read-only in a container
    tunables     the kernel settings that the kubelet sets, shown to it without changing this machine's
    masks        what manages devices, modules, clocks and consoles: the container has none of its own; and Flatcar's
                 confext of /etc, which is there already (and would need dm-verity)
    containerd   no lowering of OOM scores where this machine itself may not (CAP_SYS_RESOURCE)
    kubelet      settings for a disk that all machines share, and for cgroup v1
    pods         where no add-on does it: a range of its own and routes to the others'
    images       archives that containerd imports before kubeadm runs, since there is no registry
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flatyard.clouds.local import pods
from flatyard.clouds.local.nspawn import IMAGES
from flatyard.ignition import Config, File, Resource, Unit, config, file, unit
from flatyard.ignition.dataurl import decode, decompress, encode
from flatyard.node import layout

FOLDER = "/etc/flatyard/local"
FIRST_MACHINE = 10
"""Host number of a network's first machine."""
KUBELET_PATCH = f"{layout.PATCHES_FOLDER}/kubeletconfiguration0+merge.json"
MASKED = (
    "systemd-udevd.service",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket",
    "systemd-udev-trigger.service",
    "systemd-modules-load.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-confext.service",
    "console-getty.service",
)
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""Kernel settings, below /proc/sys, that the kubelet insists on."""
SHARED_DISK: Mapping[str, object] = {
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
}
"""The kubelet's defaults are shares of the disk, which is this whole machine's: 15 % of it is no sign of trouble."""

_EARLY = "[Unit]\nDescription={}\nDefaultDependencies=no\nBefore={}\n"
_ONESHOT = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh {}\n"
_WANTED = "[Install]\nWantedBy=sysinit.target\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A machine's place, and what this Linux machine is like."""

    name: str
    address: str
    cidr: str
    gateway: str
    endpoint: tuple[str, str] | None = None
    """The endpoint's address and name, where it is known already."""
    unified: bool = False
    """cgroup v2."""
    may_raise: bool = True
    """This machine has CAP_SYS_RESOURCE."""
    swap: bool = False
    kubelet_keys: frozenset[str] = frozenset()
    """What the user data itself sets for the kubelet; ours keeps away from it."""
    pods: str = ""
    """The cluster's range of pods, where machines route them by themselves."""
    has_images: bool = False


def overlay(place: Surroundings) -> Config:
    """The config for one machine."""
    files = [*_network_files(place), _script("tunables", _tunables())]
    units = [unit(name, mask=True) for name in MASKED]
    units += [unit("systemd-networkd.service", enabled=True), _unit("tunables", "systemd-sysctl.service")]
    units.append(unit("systemd-networkd-wait-online.service", enabled=True))
    files.append(_script("mounts", _MOUNTS if place.unified else _READ_WRITE + _MOUNTS))
    units.append(_unit("mounts", "containerd.service"))
    kubelet = _kubelet(place)
    if kubelet:
        files.append(file(KUBELET_PATCH, json.dumps(kubelet, sort_keys=True) + "\n"))
    if place.pods:
        files.append(pods.conflist(place.pods, place.cidr, place.address))
    if place.has_images:
        units.append(unit(IMAGES_UNIT, _IMAGES, enabled=True))
    if not place.may_raise:
        files.append(_script("containerd", _CONTAINERD))
        units.append(unit(layout.CONTAINERD_UNIT, dropins={"90-flatyard-local.conf": _CONTAINERD_DROPIN}))
    return config(files=map(_plain, files), units=units)


def _plain(entry: File) -> File:
    """Uncompressed, as a user's file of the same path would inherit the compression (Ignition's merge)."""
    source = entry.contents.source or ""
    data = decode(source) if entry.contents.compression != "gzip" else decompress(decode(source))
    return replace(entry, contents=Resource(source=encode(data)))


def _script(name: str, text: str) -> File:
    return file(f"{FOLDER}/{name}", text, mode=0o755)


def _unit(name: str, before: str) -> Unit:
    head = _EARLY.format(f"{name} of a container", f"sysinit.target {before} kubelet.service")
    text = head + _ONESHOT.format(f"{FOLDER}/{name}") + _WANTED
    return unit(f"flatyard-local-{name}.service", text, enabled=True)


def _network_files(place: Surroundings) -> list[File]:
    prefix = ipaddress.ip_network(place.cidr).prefixlen
    network = (
        f"[Match]\nName=host0\n\n[Network]\nAddress={place.address}/{prefix}\nGateway={place.gateway}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
    if place.pods:
        network += "IPv4Forwarding=yes\n"
        network += "".join(pods.routes(place.pods, place.cidr, place.address, FIRST_MACHINE))
    hosts = f"127.0.0.1 localhost\n::1 localhost\n{place.address} {place.name}\n"
    if place.endpoint:
        hosts += " ".join(place.endpoint) + "\n"
    return [
        file("/etc/systemd/network/10-host0.network", network, overwrite=True),
        file("/etc/hosts", hosts, overwrite=True),
        file("/etc/resolv.conf", f"nameserver {place.gateway}\n", overwrite=True),
    ]


def _kubelet(place: Surroundings) -> dict[str, object]:
    wanted = {key: value for key, value in SHARED_DISK.items() if key not in place.kubelet_keys}
    if not place.unified:
        wanted["failCgroupV1"] = False
    if place.swap:
        wanted["failSwapOn"] = False
    return wanted


def _tunables() -> str:
    lines = ["set -e", "mkdir -p /run/flatyard-local/sysctl", "cd /run/flatyard-local/sysctl"]
    for key, value in TUNABLES.items():
        name = key.replace("/", ".")
        lines.append(f"echo {value} >{name}; mount --bind {name} /proc/sys/{key}")
    return "\n".join(lines) + "\n"


_MOUNTS = "mount --make-rshared /\n"
_READ_WRITE = 'for d in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$d" || true; done\n'
IMAGES_UNIT = "flatyard-local-images.service"
_IMAGES = f"""\
[Unit]
Description=Import images into containerd
Requires={layout.CONTAINERD_UNIT}
After={layout.CONTAINERD_UNIT}
Before=kubelet.service {layout.INIT_UNIT} {layout.JOIN_UNIT}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for i in {IMAGES}/*.tar; do ctr -n k8s.io images import --snapshotter overlayfs "$$i"; done'
[Install]
WantedBy=multi-user.target
"""
_CONTAINERD = f"""\
set -e
given={layout.CONTAINERD_CONFIG} made=/run/flatyard-local/containerd.toml
section='^ *\\[plugins\\."io\\.containerd\\.grpc\\.v1\\.cri"\\] *$'
mkdir -p /run/flatyard-local
if [ -e $given ]; then cat $given; else echo 'version = 2'; fi >$made
grep -q "$section" $made || echo '[plugins."io.containerd.grpc.v1.cri"]' >>$made
sed -i "/$section/a restrict_oom_score_adj = true" $made
"""
_CONTAINERD_DROPIN = f"""\
[Service]
ExecStartPre=/bin/sh {FOLDER}/containerd
ExecStart=
ExecStart=/usr/bin/containerd --config /run/flatyard-local/containerd.toml
"""
