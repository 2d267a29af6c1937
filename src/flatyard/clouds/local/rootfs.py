"""A machine's root directory: all of an image but /usr is its own copy, /usr is the image's, mounted read-only.

An image that is /usr alone, as Flatcar's is, gets the rest as Flatcar's first boot makes it.

That is how Flatcar itself has it: one read-only /usr, and a root file system that Ignition fills at the first boot.
It takes milliseconds and 10 MB, needs no overlay (containerd's snapshots may not lie on one), and leaves nothing:
/usr is mounted where only the supervisor and its children see it, so it goes when they do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from flatyard.clouds.local import flatcar_root
from flatyard.clouds.local.commands import run

NOT_COPIED = frozenset({"usr", "dev", "proc", "sys", "run", "tmp", "boot", "media", "mnt"})
EMPTY = {"usr": 0o755, "dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777, "mnt": 0o755}
_STAGES = (Path("/mnt"), Path("/media"), Path("/srv"), Path("/opt"))
FULL = 1 << 20
"""Bytes left on a disk that is called full."""
FIRST_BOOT = ("etc/machine-id", "etc/hostname", "etc/resolv.conf")
"""Files that would make a first boot look like a later one, or that belong to one machine."""


async def make(tree: Path, root: Path) -> None:
    """Make a fresh root directory of an image's tree; one that is there already goes."""
    if root.exists():
        await run("rm", "-rf", "--one-file-system", "--", str(root))
    root.mkdir(mode=0o755)
    own = sorted(str(entry) for entry in tree.iterdir() if entry.name not in NOT_COPIED)
    if own:
        await run("cp", "-a", "--reflink=auto", "--", *own, str(root))
    for name, mode in EMPTY.items():
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    if flatcar_root.is_needed(tree):
        await flatcar_root.fill(tree, root)
    for name in FIRST_BOOT:
        (root / name).unlink(missing_ok=True)


async def mount(tree: Path, root: Path, *used: Path) -> Path:
    """Show a root directory with the image's /usr in it, read-only; where it then is.

    Only for processes with a mount namespace of their own. The root is shown at a place that every user may reach:
    Ignition writes a user's keys as that user, who may not enter the folder where the directory lies. `used` are
    paths that must not be hidden.
    """
    stage = next(place for place in _STAGES if place.is_dir() and not _hides(place, tree, root, *used))
    await run("mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "flatyard", str(stage))
    seen = stage / "sysroot"
    seen.mkdir()
    await run("mount", "--bind", str(root), str(seen))
    await run("mount", "--bind", str(tree / "usr"), str(seen / "usr"))
    await run("mount", "-o", "remount,bind,ro,nodev", str(seen / "usr"))
    return seen


def _hides(place: Path, *used: Path) -> bool:
    return any(path.resolve().is_relative_to(place) for path in used)


def is_tree(path: Path) -> bool:
    """Whether a directory can be a machine's image."""
    return (path / "usr").is_dir() and any((path / "usr" / name).exists() for name in ("lib", "bin", "sbin"))


def size(path: Path) -> int:
    """Bytes free on the disk where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def why_full(path: Path) -> str:
    """What is said of the disk where `path` is when it is full; empty while it is not."""
    return f"no space left on device: the disk of {path} is full" if size(path) < FULL else ""
