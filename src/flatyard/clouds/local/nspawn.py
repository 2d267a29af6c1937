"""The command line of one machine's container."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from flatyard.clouds.local import processes
from flatyard.clouds.local.commands import ENVIRONMENT, attempt
from flatyard.clouds.local.folders import MachineFile

REBOOTED = 133
"""systemd-nspawn's exit code when the machine asked to be started again (with --keep-unit)."""
DEVICES = ("/dev/kmsg", "/dev/fuse", "/dev/loop-control")
LEGACY = ("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "systemd.unified_cgroup_hierarchy=0")
"""What systemd 256 and later must be told before it boots on cgroup v1."""
IMAGES = "/srv/flatyard/images"
"""Where a machine sees the archives that its containerd imports."""
RUN = Path("/run/systemd/nspawn")


def environment(*, unified: bool) -> Mapping[str, str]:
    """Kernel settings of the network are the container's own and may be written; all others are this machine's.

    `unified`: nspawn takes an image in which it finds no systemd for one of cgroup v1's time, and makes it a group in
    a tree of v1's that nobody has mounted and nobody would tidy up.
    """
    own = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_LOG_LEVEL": "notice"}
    return {**ENVIRONMENT, **own, **({"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if unified else {})}


def command(
    machine: MachineFile,
    root: Path,
    groups: Iterable[Path],
    nodes: Iterable[tuple[Path, str]],
    *,
    unified: bool,
) -> tuple[str, ...]:
    """Starts the container in its groups, and makes it die with its supervisor.

    No machined and no scope unit: the machine needs no systemd on this host. All capabilities, since it runs its own
    containers; those that this host's root lacks, it lacks too.
    """
    mover = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'
    devices = [f"--bind={path}" for path in DEVICES if Path(path).exists()]
    devices += [f"--bind={node}:{place}" for node, place in nodes]
    return (
        "/bin/sh",
        "-c",
        mover,
        "sh",
        *map(str, groups),
        "--",
        "setpriv",
        "--pdeathsig=KILL",
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        f"--machine={machine.id}",
        f"--hostname={machine.name}",
        f"--directory={root}",
        "--boot",
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf",
        f"--network-bridge={machine.bridge}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        *devices,
        *((f"--bind-ro={machine.images}:{IMAGES}",) if machine.images else ()),
        *(() if unified else LEGACY),
    )


async def unplug(instance: str) -> None:
    """Pull the cable of a machine without power: the kernel takes a while to end a network namespace, cable and all.

    nspawn gives it the alternative name `vb-INSTANCE` on this side.
    """
    name = f"vb-{instance}"
    while (await attempt("ip", "link", "show", "dev", name)).code == 0:
        await attempt("ip", "link", "delete", "dev", name)


def leftovers(instance: str, root: Path, running: Iterable[int]) -> tuple[Path, ...]:
    """What nspawn keeps outside of the machine's folder, which stays when it is killed.

    Its lock is named after the root directory's inode; `running` are processes that have it open, should that be lost.
    """
    places = {RUN / "propagate" / instance: None, RUN / "unix-export" / instance: None}
    if root.exists():
        found = root.stat()
        places[RUN / "locks" / f"inode-{found.st_dev}:{found.st_ino}"] = None
    held = (path for pid in running for path in processes.opened(pid))
    return (*(places | {path: None for path in held if path.parent == RUN / "locks"}),)
