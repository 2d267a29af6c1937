"""A stand-in for a Flatcar image: Debian packages that say they are Flatcar.

It has what a node needs of Flatcar: os-release with ID=flatcar and SYSEXT_LEVEL, systemd with sysext and sysupdate,
containerd, runc, the user core, `disable *` as the last preset, and update_engine's interface and client. It is not
Flatcar: its kernel is this machine's, its packages are Debian's, and its update_engine updates nothing.

Built once below the cache, by suite, package list and our own files. Versions are those that the archive has then;
they are written down in `packages` beside the tree. Removing the folder builds it anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.clouds.local import os_release, update_engine
from flatyard.clouds.local.commands import CommandFailed, attempt, run
from flatyard.clouds.local.folders import held, make_private
from flatyard.clouds.local.settings import architecture

VERSION = "4593.2.5"
"""The Flatcar release that it says it is."""
SUITE = "trixie"
TITLE = f"stand-in for Flatcar {VERSION} (Debian {SUITE} packages)"
PACKAGES = tuple(
    "ca-certificates conntrack containerd curl dbus ebtables ethtool iproute2 iptables iputils-ping jq kmod "
    "libnss-systemd mount nftables procps runc socat systemd systemd-container systemd-resolved systemd-sysv "
    "udev util-linux".split()
)
_NOT_WANTED = ("man", "doc", "locale", "info", "lintian", "bash-completion", "zsh")
_EMPTIED = (
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
_DROPPED = (
    *(f"usr/lib/systemd/system/{unit}" for unit in ("apt-daily.timer", "apt-daily-upgrade.timer")),
    *(f"usr/lib/systemd/system/{unit}" for unit in ("dpkg-db-backup.timer", "e2scrub_all.timer")),
    *(f"etc/{name}" for name in ("machine-id", "hostname", "resolv.conf")),
)
_SYSEXT = "usr/lib/systemd/system/ensure-sysext.service"
_FILES = {
    "usr/lib/os-release": (
        'NAME="Flatcar Container Linux by Kinvolk"\nID=flatcar\nID_LIKE=coreos\n'
        f"VERSION={VERSION}\nVERSION_ID={VERSION}\nSYSEXT_LEVEL=1.0\n"
        f'PRETTY_NAME="Flatcar Container Linux {VERSION} (flatyard\'s stand-in: Debian {SUITE} packages)"\n'
        f'HOME_URL="https://flatcar.org/"\nVARIANT="flatyard stand-in"\nVARIANT_ID={os_release.STAND_IN}\n'
    ),
    "usr/lib/systemd/system-preset/99-default.preset": "disable *\n",
    _SYSEXT: (
        "[Unit]\nDescription=Start what system extensions brought\nDefaultDependencies=no\n"
        "BindsTo=systemd-sysext.service\nAfter=systemd-sysext.service\n"
        "ConditionDirectoryNotEmpty=|/etc/extensions\nConditionDirectoryNotEmpty=|/var/lib/extensions\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/systemctl daemon-reload\n"
        "ExecStart=/usr/bin/systemctl restart --no-block sockets.target timers.target multi-user.target\n"
    ),
    **update_engine.FILES,
}
_LINKS = {
    "usr/lib/systemd/system/sysinit.target.wants/systemd-sysext.service": "../systemd-sysext.service",
    "usr/lib/systemd/system/sysinit.target.wants/ensure-sysext.service": "../ensure-sysext.service",
    "etc/os-release": "../usr/lib/os-release",
    **update_engine.LINKS,
}
_FOLDERS = ("usr/lib/modules", "opt", "etc/extensions", "etc/cni/net.d", "etc/flatcar", "var/log/journal")
_URI = re.compile(r"^(?:URIs:|deb\s+(?:\[[^\]]*\]\s+)?)\s*(https?://\S+/debian)/?(?:\s|$)", re.MULTILINE)
_ACQUIRE = re.compile(r"^Acquire::\S+ \"[^\"]*\";$", re.MULTILINE)


def key() -> str:
    """What the tree is made from, as a short hash."""
    lists = [SUITE, PACKAGES, _FILES, _LINKS, _FOLDERS, _EMPTIED, _DROPPED, _NOT_WANTED]
    inputs = json.dumps([*lists, update_engine.key()])
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def place(cache: Path) -> Path:
    """Where the tree is, or will be."""
    return cache / "local" / f"stand-in-{key()}" / "tree"


async def ensure(cache: Path, tell: Callable[[str], None]) -> Path:
    """The tree, built if it is not there yet: a minute, and 150 MB from the Debian archive.

    Raises Failed with what mmdebstrap or Go said.
    """
    tree = place(cache)
    if tree.exists():
        return tree
    make_private(tree.parent)
    async with held(tree.parent / "lock"):
        if not tree.exists():
            tell(f"building the {TITLE}; this happens once and takes about a minute")
            await _build(cache, tree, tell)
            tell(f"built the {TITLE} in {tree}")
    return tree


async def _build(cache: Path, tree: Path, tell: Callable[[str], None]) -> None:
    work, engine = tree.with_name("tree.build"), tree.with_name("update_engine")
    await run("rm", "-rf", "--one-file-system", str(work), str(engine))

    def hear(line: str) -> None:
        if line.startswith("I: "):
            tell(f"  {line.removeprefix('I: ')}")

    program = engine / "update_engine"
    await update_engine.build(cache, architecture(), engine, program)
    try:
        await run(*await _bootstrap(work), hear=hear)
        versions = await run("chroot", str(work), "dpkg-query", "-W")
        await _shape(work)
        await run("install", "-m", "755", str(program), str(work / update_engine.PROGRAM))
    except (CommandFailed, FileNotFoundError) as error:
        raise Failed(
            f"the {TITLE} could not be built",
            why=str(error)[-1500:],
            next="see that the Debian archive answers, then run the same command again",
        ) from None
    tree.with_name("packages").write_text(versions)
    await run("rm", "-rf", str(engine))
    work.rename(tree)


async def _bootstrap(work: Path) -> tuple[str, ...]:
    """mmdebstrap's command line, with this machine's own settings of how packages are fetched."""
    own = (await attempt("apt-config", "dump", "Acquire")).said
    return (
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={line.rstrip(';')}" for line in _ACQUIRE.findall(own)),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_WANTED),
        SUITE,
        str(work),
        *_archive(mirror(_sources())),
    )


def _archive(address: str) -> tuple[str, ...]:
    """mmdebstrap knows where the public archive is, where this machine says nothing else."""
    return (f"deb {address} {SUITE} main",) if address else ()


def mirror(sources: Iterable[str]) -> str:
    """The Debian archive that this machine itself uses, from the texts of its sources; empty where they name none."""
    found = (match[1] for text in sources for match in _URI.finditer(text))
    return next(found, "")


def _sources() -> list[str]:
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return [path.read_text() for path in files if path.is_file()]


async def _shape(work: Path) -> None:
    """Turn the Debian tree into what looks like Flatcar's."""
    for name in _EMPTIED:
        await run("find", str(work / name), "-mindepth", "1", "-delete")
    for name in _DROPPED:
        (work / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        (work / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        _replace(work / name).write_text(text)
        (work / name).chmod(0o755 if text.startswith("#!") else 0o644)
    for name, target in _LINKS.items():
        _replace(work / name).symlink_to(target)
    await run("groupadd", "--root", str(work), "--gid", "500", "core")
    await run(
        "useradd", "--root", str(work), "--uid", "500", "--gid", "500", "--create-home", "--shell", "/bin/bash",
        "--password", "*", "--groups", "sudo,systemd-journal", "core",
    )  # fmt: skip


def _replace(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path
