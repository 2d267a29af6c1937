"""The extension-release file: what an image says it fits, and whether it does.

Follows os-release(5) and systemd-sysext(8): ARCHITECTURE must be the machine's or `_any`, ID the host's or `_any`; with
an ID, SYSEXT_LEVEL must match where both have it, else VERSION_ID where the host has one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from flatyard.base.values import dataclass

FOLDER = "usr/lib/extension-release.d"
PREFIX = "extension-release."
ANY = "_any"
_KEY = re.compile(r"[A-Z_][A-Z0-9_]*")

FLATCAR = {"ID": "flatcar", "SYSEXT_LEVEL": "1.0"}
"""What every Flatcar release has in its os-release, whatever its VERSION_ID."""


def path_of(name: str) -> str:
    """`kubernetes` → `usr/lib/extension-release.d/extension-release.kubernetes`."""
    return f"{FOLDER}/{PREFIX}{name}"


def render(arch: str, *, reload: bool) -> bytes:
    """The file of an extension that brings everything along: any OS, one architecture (`x86-64`; empty: any).

    `reload`: the node reads its units again after merging, as it must where the extension has some.
    """
    lines = [f"ID={ANY}"]
    if arch:
        lines.append(f"ARCHITECTURE={arch}")
    if reload:
        lines.append("EXTENSION_RELOAD_MANAGER=1")
    return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why an extension would not merge on a host; `next` is what to do."""

    field: str
    what: str
    next: str


def parse(text: str) -> Mapping[str, str]:
    """The fields of an os-release or extension-release; lines that are none are passed over, as systemd does."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and _KEY.fullmatch(key):
            fields[key] = _unquoted(value)
    return fields


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value, comments=False, posix=True)[:1])
    except ValueError:
        return value


def mismatches(release: Mapping[str, str], host: Mapping[str, str], arch: str) -> tuple[Mismatch, ...]:
    """Why systemd-sysext would leave an extension out on a host; empty when it would merge it.

    `host` is the host's os-release; `arch` the machine's architecture as systemd names it, empty where unknown.
    """
    found = [_scope(release), _architecture(release, arch), _os(release, host)]
    return tuple(mismatch for mismatch in found if mismatch)


def _os(release: Mapping[str, str], host: Mapping[str, str]) -> Mismatch | None:
    wanted, is_there = release.get("ID", ""), host.get("ID", "linux")
    if wanted == ANY:
        return None
    if not wanted:
        return Mismatch("ID", "the extension names no OS", f"set ID={is_there} or ID={ANY}")
    if wanted != is_there:
        return Mismatch(
            "ID",
            f"the extension is for {wanted}, this OS is {is_there}",
            f"build it with ID={ANY} if it brings its own libraries, or take one for {is_there}",
        )
    level, host_level = release.get("SYSEXT_LEVEL", ""), host.get("SYSEXT_LEVEL", "")
    if level and host_level:
        return None if level == host_level else _level("SYSEXT_LEVEL", level, host_level)
    version, host_version = release.get("VERSION_ID", ""), host.get("VERSION_ID", "")
    if version == host_version or not host_version:
        return None
    return _level("VERSION_ID", version or "no level and no version at all", host_version)


def _level(field: str, ours: str, theirs: str) -> Mismatch:
    return Mismatch(
        field,
        f"the extension is for {ours}, this OS has {theirs}",
        f"take the extension's build for {theirs}",
    )


def _scope(release: Mapping[str, str]) -> Mismatch | None:
    scopes = release.get("SYSEXT_SCOPE", "system portable").split()
    if "system" in scopes:
        return None
    return Mismatch(
        "SYSEXT_SCOPE", f"the extension is for {' and '.join(scopes)} only", "set SYSEXT_SCOPE=system"
    )


def _architecture(release: Mapping[str, str], arch: str) -> Mismatch | None:
    wanted = release.get("ARCHITECTURE", "")
    if not arch or wanted in ("", ANY, arch):
        return None
    return Mismatch(
        "ARCHITECTURE",
        f"the extension is for {wanted}, the machine is {arch}",
        f"take the extension's image for {arch}",
    )
