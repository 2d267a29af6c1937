"""The root file system that Flatcar's initrd makes at a first boot, when there is nothing but /usr.

A Flatcar disk's ROOT partition is empty. In the initrd, before Ignition, the folders and links of
`tmpfiles.d/baselayout*.conf` are made, the few accounts that must be writable are copied out of
`/usr/share/baselayout` (flatcar-tmpfiles), and `/usr/share/flatcar/etc` is laid below /etc: by an overlay up to 4593,
by the confext `/usr/lib/confexts/00-flatcar-default.raw` of the same content later. All else is systemd-tmpfiles' at
boot, in the machine. Here /etc is a plain copy: it is each machine's own, and never updated, so what a container must
not do about it (systemd-confext) is masked by the overlay config.

Sources: flatcar/bootengine `initrd-setup-root`, flatcar/baselayout `tmpfiles.d` and `flatcar-tmpfiles`, flatcar/scripts
`build_image_util.sh`. No published image could be booted to try it: what is here follows those, and is tested with an
image of the same layout.
"""

from __future__ import annotations

import os
from pathlib import Path

from flatyard.clouds.local.commands import run

ETC = Path("usr/share/flatcar/etc")
ACCOUNTS = Path("usr/share/baselayout")
_MERGED = ("bin", "sbin", "lib", "lib64")
_FOLDERS = {
    "boot": 0o755,
    "media": 0o755,
    "oem": 0o755,
    "opt": 0o755,
    "opt/bin": 0o755,
    "root": 0o700,
    "var": 0o755,
}
_LINKS = {"var/lock": "../run/lock", "var/run": "../run"}
_USERS = frozenset({"root", "core"})
_GROUPS = frozenset({"root", "core", "docker", "sudo", "wheel", "systemd-journal"})
_DATABASES = {
    "passwd": (_USERS, 0o644),
    "group": (_GROUPS, 0o644),
    "shadow": (_USERS, 0o640),
    "gshadow": (_GROUPS, 0o640),
}
"""Which accounts are copied to where they can be changed; all others are read where they are (nss-altfiles)."""
_JOURNAL = 0o2755


def is_needed(tree: Path) -> bool:
    """Whether a tree is /usr alone."""
    return not (tree / "etc").exists()


async def fill(tree: Path, root: Path) -> None:
    """Make of an empty root directory what Ignition and systemd expect to find; /usr itself stays empty."""
    for name in _MERGED:
        if (tree / "usr" / name).is_dir():
            _link(root / name, f"usr/{name}")
    for name, mode in _FOLDERS.items():
        (root / name).mkdir(mode=mode, exist_ok=True)
        (root / name).chmod(mode)
    for name, target in _LINKS.items():
        _link(root / name, target)
    await _etc(tree, root / "etc")
    _accounts(tree / ACCOUNTS, root / "etc")
    _home(root)
    _journal(root)


def _link(place: Path, target: str) -> None:
    """Unless something is there: a tree may have more than /usr."""
    if not place.is_symlink() and not place.exists():
        place.symlink_to(target)


async def _etc(tree: Path, etc: Path) -> None:
    etc.mkdir(mode=0o755)
    if (tree / ETC).is_dir():
        await run("cp", "-a", "--reflink=auto", "--", f"{tree / ETC}/.", str(etc))


def _accounts(given: Path, etc: Path) -> None:
    """Those that /etc has not yet; lines of a database begin with the name."""
    for database, (wanted, mode) in _DATABASES.items():
        here = etc / database
        lines = _lines(here)
        known = {line.partition(":")[0] for line in lines}
        for line in _lines(given / database):
            name = line.partition(":")[0]
            if name in wanted - known:
                lines.append(line)
        if lines:
            is_new = not here.exists()
            here.write_text("".join(f"{line}\n" for line in lines))
            if is_new:
                here.chmod(mode)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def _home(root: Path) -> None:
    """The folders of the user core, where there is one."""
    found = _number(root / "etc/passwd", "core", 2), _number(root / "etc/passwd", "core", 3)
    if None in found:
        return
    (root / "home").mkdir(mode=0o755, exist_ok=True)
    for name, mode in (("home/core", 0o755), ("home/core/.ssh", 0o700)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
        os.chown(root / name, *(number or 0 for number in found))


def _journal(root: Path) -> None:
    """There before journald starts, so that the first boot's journal is kept."""
    place = root / "var/log/journal"
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chown(place, 0, _number(root / "etc/group", "systemd-journal", 2) or 0)
    place.chmod(_JOURNAL)


def _number(database: Path, name: str, column: int) -> int | None:
    for line in _lines(database):
        fields = line.split(":")
        if fields[0] == name and len(fields) > column and fields[column].isdecimal():
            return int(fields[column])
    return None
