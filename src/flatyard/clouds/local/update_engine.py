"""The stand-in's update_engine: Flatcar's D-Bus interface and client, in front of nothing.

Flatcar's own comes with an image only, and would look for partitions that a container has not. Tools that watch or
drive it (FLUO, kured's sentinel, our node agent) find here what they would find there: `com.coreos.update1` on the
system bus, its states and its signal, and what `update_engine_client` prints. It is one program of Go, since Go is
needed for Ignition anyway and a static program fits any tree; C with sd-bus would have needed one more package here
and the same libraries there.

As root in a machine, `echo 4628.1.0 >/run/flatyard-stand-in/update` is an update: two seconds later the status is
UPDATE_STATUS_UPDATED_NEED_REBOOT with that NEW_VERSION, and /run/reboot-required is there. A reboot ends it; the
release stays what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from flatyard.sysext import toolchain
from flatyard.sysext.recipes import Recipe, Way
from flatyard.sysext.toolchain import GoFailed

_MODULE, _VERSION = "github.com/godbus/dbus/v5", "v5.1.0"
_RECIPE = Recipe(
    "the stand-in's update_engine with godbus",
    _MODULE,
    _VERSION,
    (("update_engine", "."),),
    Way.OURS,
    "1.21",
    seconds=5,
    megabytes=100,
)
_MOD = f"module flatyard.invalid/update-engine\n\ngo 1.21\n\nrequire {_MODULE} {_VERSION}\n"
_SUM = (
    f"{_MODULE} {_VERSION} h1:4KLkAxT3aOY8Li4FRJe/KvhoNFFxo0m6fNuFUO8QJUk=\n"
    f"{_MODULE} {_VERSION}/go.mod h1:xhWf0FNVPg57R7Z0UbKHbJfkEywrmjJnf7w5xrFpKfA=\n"
)
PROGRAM = "usr/sbin/update_engine"
LINKS: Mapping[str, str] = {
    "usr/bin/update_engine_client": "../sbin/update_engine",
    "usr/lib/systemd/system/multi-user.target.wants/update-engine.service": "../update-engine.service",
}
FILES: Mapping[str, str] = {
    "usr/lib/systemd/system/update-engine.service": (
        "[Unit]\nDescription=Update Engine (flatyard's stand-in: nothing is ever updated)\n"
        "[Service]\nType=dbus\nBusName=com.coreos.update1\nExecStart=/usr/sbin/update_engine\n"
        "Restart=always\nRestartSec=5\n[Install]\nWantedBy=multi-user.target\n"
    ),
    "usr/share/dbus-1/system.d/com.coreos.update1.conf": (
        '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"\n'
        ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n'
        "<!-- flatyard's stand-in; who may do what is as in Flatcar -->\n<busconfig>\n"
        '  <policy context="default"><deny send_destination="com.coreos.update1"/></policy>\n'
        '  <policy user="root">\n    <allow own="com.coreos.update1"/>\n'
        '    <allow send_destination="com.coreos.update1"/>\n  </policy>\n  <policy user="core">\n'
        + "".join(
            '    <allow send_destination="com.coreos.update1" send_interface="com.coreos.update1.Manager"'
            f' send_member="{member}"/>\n'
            for member in ("AttemptUpdate", "ResetStatus", "GetStatus")
        )
        + "  </policy>\n</busconfig>\n"
    ),
}
"""Beside the program: the unit, which is in no container of a real Flatcar, and the bus's rules."""


def source() -> str:
    """The program's text."""
    return (resources.files("flatyard.clouds.local") / "go/update_engine.go.txt").read_text(encoding="utf-8")


def key() -> str:
    """What the program is made from, as a short hash."""
    return hashlib.sha256("\0".join([_MOD, _SUM, source()]).encode()).hexdigest()[:16]


async def build(cache: Path, arch: str, work: Path, program: Path) -> None:
    """Compile it: seconds, and one small module from the Go module proxy, checked by the sum that is written here.

    `work` is a folder for it, which is made. Raises Failed, and Refused where there is no Go.
    """
    go = toolchain.find(cache)
    toolchain.check_version(go, _RECIPE)
    work.mkdir(parents=True)
    (work / "go.mod").write_text(_MOD)
    (work / "go.sum").write_text(_SUM)
    (work / "main.go").write_text(source())
    arguments = ("build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(program), ".")
    try:
        await toolchain.run(go, arguments, work, arch=arch)
    except GoFailed as failure:
        raise toolchain.explained(failure, _RECIPE) from None
