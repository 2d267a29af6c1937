"""One real machine, from an Ignition config to nothing: it boots, says so, comes back, goes, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.clouds.cloud import InstanceState, Rejected
from flatyard.clouds.local import loops, networks, processes
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.commands import run as run_command
from flatyard.clouds.local.folders import Phase
from flatyard.ignition import dataurl

pytestmark = pytest.mark.real
UNIT = "[Service]\nType=oneshot\nExecStart=/bin/sh -c '{}'\n[Install]\nWantedBy=multi-user.target\n"
HELLO = UNIT.format("cat /etc/greeting >/dev/console")


def config(**more: object) -> bytes:
    document = {
        "ignition": {"version": "3.4.0"},
        "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA"]}]},
        "storage": {
            "files": [
                {"path": "/etc/hostname", "contents": {"source": "data:,m1"}},
                {"path": "/etc/greeting", "contents": {"source": "data:,hello%20from%20a%20unit%0A"}},
            ]
        },
        "systemd": {"units": [{"name": "hello.service", "enabled": True, "contents": HELLO}]},
    }
    return json.dumps(document | more).encode()


def run(main: Coroutine[object, object, None]) -> None:
    asyncio.run(main)


def test_a_machine_boots_from_its_config_comes_back_and_leaves_nothing(bed, stock):
    async def main() -> None:
        before = stock()
        made = await bed.create(config())
        folder = bed.folder(made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 1, "the unit's words on the console")
        assert await bed.state() is InstanceState.RUNNING
        assert not folder.user_data.exists(), "the user data goes once Ignition has read it"
        assert "ssh-ed25519 AAAA" in (folder.root / "home/core/.ssh/authorized_keys").read_text()
        hosts = await bed.inside(made, "cat", "/etc/hosts")
        assert f"{bed.address(2)} api.prod.flatyard.internal" in hosts
        assert "Read-only" in await bed.inside(made, "touch", "/usr/x")
        async with asyncio.timeout(30):  # its network comes up beside the unit
            while " 0% packet loss" not in await bed.inside(made, "ping", "-c1", "-W2", bed.address(1)):
                await asyncio.sleep(0.1)
        assert "ID=flatcar" in await bed.inside(made, "cat", "/etc/os-release")
        assert "stand-in" in await bed.inside(made, "cat", "/etc/os-release")
        assert await bed.cloud.evidence(bed.ref, made) is None

        await bed.cloud.restart(bed.ref, made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 2, "the second boot")
        assert folder.state().boots == 2 and await bed.state() is InstanceState.RUNNING
        await bed.inside(made, "systemctl", "reboot")
        await bed.until(lambda: bed.said(made, "hello from a unit") == 3, "the third boot, asked for inside")
        await bed.inside(made, "systemctl", "poweroff")
        await bed.until(lambda: folder.state().phase is Phase.STOPPED, "the power off, asked for inside")
        assert await bed.state() is InstanceState.STOPPED
        await bed.cloud.restart(bed.ref, made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 4, "the boot after a power off")
        await bed.down()
        assert await stock.left(before) == {}

    run(main())


@pytest.mark.parametrize("victim", ["supervisor", "nspawn", "balancer"])
def test_what_is_killed_leaves_nothing_behind(tiny, stock, victim):
    async def main() -> None:
        before = stock()
        made = await tiny.create(config(passwd={}))
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        folder = tiny.folder(made)
        state = folder.state()
        (balancer,) = processes.serving(processes.BALANCER, folder.path.parent)
        os.kill(
            {"supervisor": state.pid, "nspawn": state.nspawn, "balancer": balancer}[victim], signal.SIGKILL
        )
        if victim != "balancer":
            while await tiny.state() is not InstanceState.STOPPED:
                await asyncio.sleep(0.05)
            await tiny.cloud.restart(tiny.ref, made)
            await tiny.until(lambda: tiny.said(made, "tiny init is up") == 2, "the boot after the kill")
            os.kill(folder.state().pid, signal.SIGKILL)
        await tiny.down()
        assert await stock.left(before) == {}

    run(main())


def test_a_container_that_outlives_its_nspawn_is_ended_before_the_next_boot(tiny):
    async def main() -> None:
        made = await tiny.create(config(passwd={}))
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        folder, first = tiny.folder(made), await tiny.leader(made)
        os.kill(folder.state().nspawn, signal.SIGKILL)
        await tiny.until(lambda: folder.state().phase is Phase.STOPPED, "the end of the machine")
        assert not processes.command_line(first), "two machines on one root directory would ruin it"
        await tiny.down()

    run(main())


def test_a_machine_whose_files_are_lost_is_found_and_deleted(tiny, stock):
    async def main() -> None:
        before = stock()
        made = await tiny.create(config(passwd={}))
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        for name in ("machine.json", "state.json", "../network.json", "../endpoint.json"):
            (tiny.folder(made).path / name).unlink()
        for _ in range(3):
            for owned in await tiny.cloud.sweep(tiny.ref):
                if owned.kind != "network" or not any(
                    o.kind == "instance" for o in await tiny.cloud.sweep(tiny.ref)
                ):
                    await tiny.cloud.delete_owned(tiny.ref, owned)
        assert await tiny.cloud.sweep(tiny.ref) == ()
        assert await stock.left(before) == {}

    run(main())


def test_the_way_out_is_opened_only_when_asked_for_and_closed_again(bed, stock):
    async def main() -> None:
        before = stock()
        bed.cloud = LocalCloud(replace(bed.place, nat=True))
        await bed.cloud.ensure_network(bed.ref, bed.cluster)
        opened = stock()
        assert any(f"{bed.address(0)}/24" in table for table in opened.rules)
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
        await bed.cloud.ensure_network(bed.ref, bed.cluster)
        assert await stock.left(opened) == {}, "a second call changes nothing"
        await bed.down()
        assert await stock.left(before) == {}

    run(main())


def test_an_interface_of_somebody_else_is_refused_with_its_name(bed, stock):
    async def main() -> None:
        stock()
        name = networks.bridge_of(bed.ref)
        await run_command("ip", "link", "add", name, "type", "bridge")
        await run_command("ip", "link", "set", name, "alias", "flatyard-test")  # as conftest's TESTS_OWN
        try:
            with pytest.raises(Rejected, match=f"there is an interface {name} already"):
                await bed.cloud.ensure_network(bed.ref, bed.cluster)
            assert await bed.cloud.sweep(bed.ref) == ()
        finally:
            await run_command("ip", "link", "delete", name)

    run(main())


def test_disks_of_this_machine_are_never_touched(tiny):
    async def main() -> None:
        wipe = {"disks": [{"device": "/dev/loop99", "wipeTable": True}]}
        with pytest.raises(Rejected, match=r"its config has storage\.disks"):
            await tiny.create(config(passwd={}, storage=wipe))
        assert await tiny.cloud.machines(tiny.ref) == ()
        await tiny.down()

    run(main())


def test_a_failed_ignition_is_told_with_its_own_words(tiny):
    async def main() -> None:
        wrong = {
            "path": "/opt/x",
            "contents": {"source": "data:,x", "verification": {"hash": f"sha256-{'0' * 64}"}},
        }
        made = await tiny.create(config(passwd={}, storage={"files": [wrong]}))
        await tiny.until(lambda: tiny.folder(made).state().phase is Phase.EMERGENCY, "the failure")
        assert await tiny.state() is InstanceState.RUNNING, (
            "a cloud shows a machine in its emergency shell as running"
        )
        found = await tiny.cloud.evidence(tiny.ref, made)
        assert found is not None and found.unit == "ignition"
        assert any("hash verification failed" in line for line in found.lines), found.lines
        await tiny.down()

    run(main())


def test_a_feed_that_does_not_answer_is_told_while_ignition_tries(tiny):
    async def main() -> None:
        nowhere = {"path": "/opt/x", "contents": {"source": f"http://{tiny.address(1)}:9/x.raw"}}
        made = await tiny.create(config(passwd={}, storage={"files": [nowhere]}))
        async with asyncio.timeout(30):
            while (found := await tiny.cloud.evidence(tiny.ref, made)) is None:
                await asyncio.sleep(0.1)
        assert found.unit == "ignition" and any("refused" in line for line in found.lines), found
        await tiny.down()

    run(main())


def test_a_unit_that_fails_is_found_in_the_journal(bed):
    async def main() -> None:
        text = UNIT.format("echo no such thing; exit 3")
        units = [{"name": "flatyard-identity.service", "enabled": True, "contents": text}]
        made = await bed.create(config(systemd={"units": units}))
        async with asyncio.timeout(60):
            while (found := await bed.cloud.evidence(bed.ref, made)) is None:
                await asyncio.sleep(0.2)
        assert found.unit == "flatyard-identity.service" and found.source == "journal"
        assert any("no such thing" in line for line in found.lines), found.lines
        await bed.down()

    run(main())


def test_an_extension_is_merged_and_its_loop_device_goes_with_the_machine(bed, stock, place):
    async def main() -> None:
        before = stock()
        tree, image = place.home.parent / "tree", place.home.parent / "hello.raw"
        (tree / "usr/lib/extension-release.d").mkdir(parents=True)
        (tree / "usr/lib/extension-release.d/extension-release.hello").write_text(
            "ID=flatcar\nSYSEXT_LEVEL=1.0\n"
        )
        (tree / "usr/bin").mkdir()
        (tree / "usr/bin/hello").write_text("#!/bin/sh\necho merged\n")
        (tree / "usr/bin/hello").chmod(0o755)
        await (
            await asyncio.create_subprocess_exec(
                "mksquashfs", str(tree), str(image), "-quiet", "-no-progress"
            )
        ).wait()
        source = dataurl.encode(image.read_bytes())
        files = [
            {"path": "/etc/extensions/hello.raw", "contents": {"source": source}},
            {"path": "/etc/greeting", "contents": {"source": "data:,hello%20from%20a%20unit%0A"}},
        ]
        made = await bed.create(config(storage={"files": files}))
        await bed.until(lambda: bed.said(made, "hello from a unit"), "the boot")
        assert "merged" in await bed.inside(made, "/usr/bin/hello")
        assert len(loops.used_by(bed.folder(made).path)) == 1, "the machine's loop device is known as its own"
        for path in sorted(tree.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        tree.rmdir()
        image.unlink()
        await bed.down()
        assert await stock.left(before) == {}

    run(main())
