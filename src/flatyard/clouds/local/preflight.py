"""What this machine lacks to be a cloud, and the one command that installs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.cloud import ImageQuery
from flatyard.clouds.local import disk_image, ignition_build, networks, rootfs, stand_in
from flatyard.clouds.local.commands import is_root
from flatyard.clouds.local.facts import FACTS
from flatyard.clouds.local.folders import clusters
from flatyard.clouds.local.gpt import ImageError
from flatyard.clouds.local.images import WHAT_IT_TAKES, images
from flatyard.clouds.local.os_release import Release, release_of
from flatyard.clouds.local.settings import LocalSettings, architecture, for_cluster
from flatyard.clouds.pools import badly_named, pools_of
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import LocalMachine

TOOLS: Mapping[str, str] = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "useradd": "passwd",
}
"""Commands that machines need, and the Debian packages that bring them."""
_NAT = {"nft": "nftables"}
_STAND_IN = {"mmdebstrap": "mmdebstrap"}
_IGNITION = {"gcc": "gcc libc6-dev libblkid-dev"}
DISK = 2 << 30
"""Bytes that one machine takes on disk, images and logs included."""
BUILDS = 6 << 30
"""Bytes that building the stand-in and Ignition takes, Go's caches included."""
PLANE_WATCHES, WORKER_WATCHES = 27, 13
"""inotify instances of one machine that runs, as counted on a control plane and on a worker."""
_KERNEL = {
    "overlay": Path("/sys/module/overlay"),
    "squashfs": Path("/sys/module/squashfs"),
    "loop": Path("/sys/module/loop"),
    "br_netfilter": Path("/proc/sys/net/bridge"),
}
_PATH = "spec.cloud.local"
_IMAGE = f"{_PATH}.image"
_ANOTHER = "download it again, or name another"


async def all_problems(
    settings: LocalSettings, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
) -> tuple[Problem, ...]:
    """Everything that is missing at once; once nothing is, ranges in use and what is wrong inside of a disk image."""
    place = for_cluster(settings, cluster)
    found = problems(place, cluster, deployments)
    if any(problem.severity is Severity.ERROR for problem in found):
        return found
    return (*found, *await _range(place, cluster), *await opened_image(place, cluster))


def problems(
    settings: LocalSettings, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
) -> tuple[Problem, ...]:
    """What shows without opening a disk image."""
    settings = for_cluster(settings, cluster)
    return (
        *_root(),
        *_tools(settings),
        *_kernel(),
        *_room(settings, cluster, deployments),
        *_image(settings, cluster),
        *badly_named(pools_of(LocalMachine, cluster, deployments), FACTS.instance_name),
        *_endpoint(cluster),
    )


async def _range(settings: LocalSettings, cluster: Cluster) -> tuple[Problem, ...]:
    no = await networks.refused_range(settings, cluster)
    return (Problem(Severity.ERROR, None, "spec.network.nodes", no.what, no.next),) if no else ()


def _root() -> Iterator[Problem]:
    if not is_root():
        yield _error("real machines on this machine need root; run the same command with sudo")


def _tools(settings: LocalSettings) -> Iterator[Problem]:
    wanted = {**TOOLS, **(_NAT if settings.nat else {})}
    compiled = []
    if not settings.image and not stand_in.place(settings.cache).exists():
        wanted |= _STAND_IN
        compiled.append("the stand-in's update_engine")
    if not ignition_build.is_there(settings.cache):
        wanted |= _IGNITION
        compiled.append("Ignition")
    if compiled and shutil.which("go") is None:
        what = f"there is no go, which compiles {' and '.join(reversed(compiled))}, once"
        yield _error(f"{what}; install Go 1.24 or newer (go.dev/dl)")
    missing = {tool: package for tool, package in wanted.items() if shutil.which(tool) is None}
    if missing:
        packages = " ".join(dict.fromkeys(" ".join(missing.values()).split()))
        yield _error(f"there is no {', '.join(missing)}; {install(packages)}")


def install(packages: str) -> str:
    """The command that installs Debian packages here, or what to look for elsewhere."""
    if shutil.which("apt-get"):
        return f"sudo apt-get install --no-install-recommends {packages}"
    return f"install what Debian calls {packages}"


def _kernel() -> Iterator[Problem]:
    """A kernel with modules loads them when they are needed; one without has them built in, or has them not."""
    known = Path("/proc/filesystems").read_text().split()
    modules = Path("/lib/modules", Path("/proc/sys/kernel/osrelease").read_text().strip()).is_dir()
    for name, place in _KERNEL.items():
        if name not in known and not place.exists() and not modules:
            yield _error(f"this kernel has no {name}")


def _room(
    settings: LocalSettings, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> Iterator[Problem]:
    sizes = list(_sizes(cluster, deployments))
    memory = sum(size.memory_mb for size in sizes)
    there = _memory_mb()
    if memory > there:
        yield _warning(
            f"its {len(sizes)} machines may use {memory} MB together, and this machine has {there} MB"
        )
    yield from _watches(cluster, len(sizes))
    more = len(sizes) - _made(settings, cluster)
    wanted, free = DISK * more, rootfs.size(settings.home)
    if wanted > free:
        machines = f"{more} machine{'s take' if more > 1 else ' takes'} about {_space(wanted)}"
        yield _error(
            f"{machines} below {settings.home}; {_space(free)} are free. FLATYARD_LOCAL_HOME names another place"
        )
    if not ignition_build.is_there(settings.cache) and rootfs.size(settings.cache) < BUILDS:
        yield _error(
            f"building takes {BUILDS >> 30} GiB below {settings.cache}; FLATYARD_CACHE names another place"
        )


def _made(settings: LocalSettings, cluster: Cluster) -> int:
    """How many machines the cluster has: they have their room."""
    if not is_root():
        return 0
    networks = ((folder, folder.network()) for folder in clusters(settings.home))
    return sum(len(folder.folders()) for folder, at in networks if at and at.cluster_name == cluster.name)


def _space(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def _sizes(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> Iterator[LocalMachine]:
    for pool in pools_of(LocalMachine, cluster, deployments):
        yield from [pool.machine] * pool.replicas


def _memory_mb() -> int:
    line = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(line.split()[1]) // 1024


def _watches(cluster: Cluster, machines: int) -> Iterator[Problem]:
    """inotify instances are counted for each user, and root is the same one in every machine."""
    plane = cluster.spec.control_plane.replicas
    wanted = plane * PLANE_WATCHES + (machines - plane) * WORKER_WATCHES
    there = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if wanted > there:
        what = f"its machines take about {wanted} inotify instances, and this machine gives root {there}"
        yield _warning(f"{what}; sudo sysctl fs.inotify.max_user_instances=8192")


def _image(settings: LocalSettings, cluster: Cluster) -> Iterator[Problem]:
    flatcar, kubernetes = cluster.spec.flatcar, cluster.spec.kubernetes
    baked = kubernetes.version if kubernetes.flavor == "image" else None
    if baked:
        what = "images with Kubernetes baked in cannot be had on this machine"
        yield Problem(Severity.ERROR, None, "spec.kubernetes.flavor", what, "sysext", "sysext")
        return
    if settings.image:
        yield from _given(settings, cluster)
    elif not images(settings, ImageQuery(flatcar.channel, flatcar.version, arch=architecture())):
        what = f"there is no Flatcar {flatcar.version} here, only a {stand_in.TITLE}"
        yield Problem(Severity.ERROR, None, "spec.flatcar.version", what, stand_in.VERSION, stand_in.VERSION)


def _given(settings: LocalSettings, cluster: Cluster) -> Iterator[Problem]:
    """What can be said of the user's image without opening it."""
    path = Path(settings.image)
    if path.is_dir():
        if not rootfs.is_tree(path):
            yield _wrong_image(cluster, f"{path} is no root tree, since it holds no usr/", WHAT_IT_TAKES)
        elif (release := release_of(path)) is None:
            yield _wrong_image(cluster, f"{path} has no usr/lib/os-release, so it is no tree of an OS")
        else:
            yield from _release(cluster, path, release)
        return
    try:
        found = disk_image.kept(settings.cache, path)
        if found:
            yield from _release(cluster, path, found.release)
        else:
            yield from _new_image(settings, cluster, disk_image.look(path))
    except ImageError as error:
        yield _wrong_image(cluster, f"{path}: {error}; {_ANOTHER}")
    except OSError as error:
        yield _wrong_image(cluster, f"{path} cannot be read: {error.strerror}", WHAT_IT_TAKES)


def _new_image(settings: LocalSettings, cluster: Cluster, seen: disk_image.Look) -> Iterator[Problem]:
    if seen.filesystem and not _has(seen.filesystem):
        what = f"{disk_image.LABEL} is {seen.filesystem}, which this kernel does not know; sudo modprobe"
        way = "or copy the partition's files elsewhere, and name their directory: DIR with DIR/usr"
        yield _wrong_image(cluster, f"{what} {seen.filesystem}, {way}")
    wanted, free = disk_image.GROWS * seen.usr.size, rootfs.size(settings.cache)
    if wanted > free:
        sizes = f"{wanted >> 20} MiB below {settings.cache}; {free >> 20} MiB are free"
        yield _wrong_image(cluster, f"unpacking it takes about {sizes}; FLATYARD_CACHE names another place")


def _has(filesystem: str) -> bool:
    """Whether the kernel knows a file system, or has a module for it, which mounting loads."""
    if filesystem in Path("/proc/filesystems").read_text().split():
        return True
    modules = Path("/lib/modules", Path("/proc/sys/kernel/osrelease").read_text().strip(), "modules.dep")
    return modules.is_file() and f"/{filesystem}.ko" in modules.read_text()


async def opened_image(settings: LocalSettings, cluster: Cluster) -> tuple[Problem, ...]:
    """What only shows once the user's disk image is open, which takes minutes for a packed one that is new here."""
    path = Path(settings.image)
    if not settings.image or path.is_dir() or disk_image.kept(settings.cache, path):
        return ()
    try:
        found = await disk_image.ensure(settings.cache, path, settings.tell)
    except ImageError as error:
        return (_wrong_image(cluster, f"{path}: {error}; {_ANOTHER}"),)
    except OSError as error:
        return (_wrong_image(cluster, f"{path} cannot be unpacked below {settings.cache}: {error.strerror}"),)
    return tuple(_release(cluster, path, found.release))


def _release(cluster: Cluster, path: Path, release: Release) -> Iterator[Problem]:
    """Whether an OS runs on this machine, and is the one that is asked for."""
    arch, version = architecture(), cluster.spec.flatcar.version
    if release.arch not in ("", arch):
        what = f"{path} has {release.title} for {release.arch}, and this machine is {arch}"
        yield _wrong_image(cluster, what, f"an image for {arch}")
    if version not in (None, release.version):
        what = f"there is no Flatcar {version} here, only {release.title} of {path}"
        yield Problem(Severity.ERROR, None, "spec.flatcar.version", what, release.version, release.version)


def _wrong_image(cluster: Cluster, what: str, allowed: str = "") -> Problem:
    """At the field that names the image, or by the variable's name."""
    local = cluster.spec.cloud.local
    if local and local.image:
        return Problem(Severity.ERROR, None, _IMAGE, what, allowed)
    return Problem(Severity.ERROR, None, _PATH, f"{what} (FLATYARD_LOCAL_IMAGE)", allowed)


def _endpoint(cluster: Cluster) -> Iterator[Problem]:
    kind = cluster.spec.endpoint.kind
    if kind not in (None, "lb"):
        what = f"the endpoint of a local cluster is a load balancer on its bridge, not {kind}"
        yield Problem(Severity.ERROR, None, "spec.endpoint.kind", what, "lb", "lb")


def _error(what: str) -> Problem:
    return Problem(Severity.ERROR, None, _PATH, what)


def _warning(what: str) -> Problem:
    return Problem(Severity.WARNING, None, _PATH, what)
