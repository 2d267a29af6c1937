"""Machines where this host's only tree of control groups is v2's.

The tests' own host may have v1's trees. So a process with a mount namespace of its own mounts v2's tree in their
place: for it, for systemd-nspawn and for the machines this is a v2 host then. But for its controllers: v1's trees
have nearly all of them, and a controller is in one tree only. So machines run there without limits, and kubelets,
which want cpu and memory, cannot run there at all.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from flatyard.clouds.cloud import InstanceState
from flatyard.clouds.local import cgroups
from flatyard.clouds.local.folders import Phase

pytestmark = pytest.mark.real
CLONE_NEWNS = 0x00020000
UNIT = "[Service]\nType=oneshot\nExecStart=/bin/sh -c '{}'\n[Install]\nWantedBy=multi-user.target\n"
TELL = UNIT.format(
    'stat -f -c "cgroups are %%T" /sys/fs/cgroup >/dev/console; cat /proc/self/cgroup >/dev/console'
)
OWN = "0::/system.slice/tell.service"
"""The unit's group, as its machine sees it."""


def config(**more: object) -> bytes:
    return json.dumps({"ignition": {"version": "3.4.0"}, **more}).encode()


def on_v2(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Do some work in a process that sees v2's tree only."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            see_v2()
            asyncio.run(work())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the traceback is above"


def see_v2() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(("mount", "--make-rprivate", "/"), check=True)
    subprocess.run(("mount", "-t", "cgroup2", "none", str(cgroups.ROOT)), check=True)
    assert cgroups.hierarchies() == cgroups.Hierarchies((cgroups.ROOT,), unified=True)


def hand_on(group: Path) -> None:
    """As nspawn does with the controllers that it knows: a group that hands one on takes no processes any more."""
    for name in (group / "cgroup.controllers").read_text().split():
        (group / "cgroup.subtree_control").write_text(f"+{name}")


def test_the_tiny_machine_boots_comes_back_and_leaves_no_group(tiny, stock):
    async def main() -> None:
        made = await tiny.create(config())
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        group = cgroups.hierarchies().groups(tiny.ref.id.lower(), made.id)[0] / "machine"
        leader = await tiny.leader(made)
        assert f"0::/{group.relative_to(cgroups.ROOT)}/" in Path(f"/proc/{leader}/cgroup").read_text()
        hand_on(group)
        await tiny.cloud.restart(tiny.ref, made)
        await tiny.until(lambda: tiny.said(made, "tiny init is up") == 2, "the second boot")
        hand_on(group)
        folder = tiny.folder(made)
        os.kill(folder.state().nspawn, signal.SIGKILL)
        await tiny.until(lambda: folder.state().phase is Phase.STOPPED, "the end after the kill")
        await tiny.cloud.restart(tiny.ref, made)
        await tiny.until(lambda: tiny.said(made, "tiny init is up") == 3, "the boot after the kill")
        os.kill(folder.state().pid, signal.SIGKILL)
        await tiny.down()

    before = stock()
    on_v2(main)
    assert asyncio.run(stock.left(before)) == {}


def test_systemd_boots_comes_back_and_leaves_no_group(bed, stock):
    async def main() -> None:
        unit = {"name": "tell.service", "enabled": True, "contents": TELL}
        made = await bed.create(config(systemd={"units": [unit]}))
        await bed.until(lambda: bed.said(made, OWN) == 1, "the unit's words on the console")
        assert bed.said(made, "cgroups are cgroup2fs") == 1
        await bed.cloud.restart(bed.ref, made)
        await bed.until(lambda: bed.said(made, OWN) == 2, "the second boot")
        await bed.inside(made, "systemctl", "reboot")
        await bed.until(lambda: bed.said(made, OWN) == 3, "the boot asked for inside")
        assert await bed.state() is InstanceState.RUNNING
        await bed.inside(made, "systemctl", "poweroff")
        await bed.until(lambda: bed.folder(made).state().phase is Phase.STOPPED, "the power off")
        await bed.down()

    before = stock()
    on_v2(main)
    assert asyncio.run(stock.left(before)) == {}
