"""One real machine, from an Ignition config to nothing: it boots, says so, comes back, goes, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.clouds.cloud import ClusterRef, CreateRequest, Instance, InstanceState, Rejected, Role
from flatyard.clouds.local import evidence, loops, networks, processes
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.commands import run as run_command
from flatyard.clouds.local.folders import MachineFolder, Phase
from flatyard.clouds.local.images import STAND_IN
from flatyard.clouds.local.settings import LocalSettings
from flatyard.ignition import dataurl
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine
from flatyard.model.meta import ObjectMeta

pytestmark = pytest.mark.real
REF = ClusterRef("01JGFJJZ00DDDDDDDDDDDDDDDD", "prod")
CLUSTER = model.Cluster(
    metadata=ObjectMeta(name="prod"),
    spec=model.ClusterSpec(cloud=model.CloudChoice(local=model.LocalCloud())),
)
UNIT = "[Service]\nType=oneshot\nExecStart=/bin/sh -c '{}'\n[Install]\nWantedBy=multi-user.target\n"
HELLO = UNIT.format("cat /etc/greeting >/dev/console")
Stock = Callable[[], object]


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


class Bed:
    """A cluster without Kubernetes in which a test makes one machine."""

    def __init__(self, place: LocalSettings) -> None:
        self.cloud = LocalCloud(place)
        self.place = place

    def folder(self, instance: Instance) -> MachineFolder:
        return networks.folder_of(self.place, REF).folder(instance.id)

    async def create(self, user_data: bytes, attempt: int = 1) -> Instance:
        network = await self.cloud.ensure_network(REF, CLUSTER)
        await self.cloud.ensure_endpoint(REF, CLUSTER, network, ())
        return await self.cloud.create(
            CreateRequest(
                cluster=REF,
                machine_id="01JGFJJZ00EEEEEEEEEEEEEEEE",
                attempt=attempt,
                name="m1",
                role=Role.WORKER,
                pool="general",
                zone="",
                image=self.place.image or STAND_IN,
                machine=LocalMachine(),
                network=network,
                user_data=user_data,
            )
        )

    async def until(self, done: Callable[[], object], what: str, seconds: float = 60) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{what} did not happen in {seconds} s")

    async def state(self) -> InstanceState:
        (shown,) = await self.cloud.machines(REF)
        return shown.state

    def said(self, instance: Instance, words: str) -> int:
        """How often the machine's console says so."""
        return sum(words in line for line in evidence.console(self.folder(instance)))

    async def leader(self, instance: Instance) -> int:
        folder = self.folder(instance)
        await self.until(lambda: processes.leader(folder.state().nspawn), "the container's start")
        return processes.leader(folder.state().nspawn)

    async def inside(self, instance: Instance, *command: str) -> str:
        return (await processes.inside(await self.leader(instance), *command)).said

    async def down(self) -> None:
        for instance in await self.cloud.machines(REF):
            await self.cloud.delete(REF, instance)
        await self.cloud.delete_endpoint(REF)
        await self.cloud.delete_network(REF)
        assert await self.cloud.sweep(REF) == ()


def run(main: Coroutine[object, object, None]) -> None:
    asyncio.run(main)


def test_a_machine_boots_from_its_config_comes_back_and_leaves_nothing(
    place: LocalSettings, stock: Stock
) -> None:
    async def main() -> None:
        bed = Bed(place)
        before = stock()
        made = await bed.create(config())
        folder = bed.folder(made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 1, "the unit's words on the console")
        assert await bed.state() is InstanceState.RUNNING
        assert not folder.user_data.exists(), "the user data goes once Ignition has read it"
        assert "ssh-ed25519 AAAA" in (folder.root / "home/core/.ssh/authorized_keys").read_text()
        hosts = await bed.inside(made, "cat", "/etc/hosts")
        assert "10.231.0.2 api.prod.flatyard.internal" in hosts
        assert "Read-only" in await bed.inside(made, "touch", "/usr/x")
        assert "0% packet loss" in await bed.inside(made, "ping", "-c1", "-W2", "10.231.0.1")
        assert "ID=flatcar" in await bed.inside(made, "cat", "/etc/os-release")
        assert "stand-in" in await bed.inside(made, "cat", "/etc/os-release")
        assert await bed.cloud.evidence(REF, made) is None

        await bed.cloud.restart(REF, made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 2, "the second boot")
        assert folder.state().boots == 2 and await bed.state() is InstanceState.RUNNING
        await bed.inside(made, "systemctl", "reboot")
        await bed.until(lambda: bed.said(made, "hello from a unit") == 3, "the third boot, asked for inside")
        await bed.inside(made, "systemctl", "poweroff")
        await bed.until(lambda: folder.state().phase is Phase.STOPPED, "the power off, asked for inside")
        assert await bed.state() is InstanceState.STOPPED
        await bed.cloud.restart(REF, made)
        await bed.until(lambda: bed.said(made, "hello from a unit") == 4, "the boot after a power off")
        await bed.down()
        assert stock().left(before) == {}  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("victim", ["supervisor", "nspawn", "balancer"])
def test_what_is_killed_leaves_nothing_behind(
    place: LocalSettings, stock: Stock, victim: str, tiny_tree: object
) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        before = stock()
        made = await bed.create(config(passwd={}))
        await bed.until(lambda: bed.said(made, "tiny init is up"), "the boot")
        folder = bed.folder(made)
        state = folder.state()
        (balancer,) = processes.serving(processes.BALANCER, folder.path.parent)
        os.kill(
            {"supervisor": state.pid, "nspawn": state.nspawn, "balancer": balancer}[victim], signal.SIGKILL
        )
        if victim != "balancer":
            while await bed.state() is not InstanceState.STOPPED:
                await asyncio.sleep(0.05)
            await bed.cloud.restart(REF, made)
            await bed.until(lambda: bed.said(made, "tiny init is up") == 2, "the boot after the kill")
            os.kill(folder.state().pid, signal.SIGKILL)
        await bed.down()
        assert stock().left(before) == {}  # type: ignore[attr-defined]

    run(main())


def test_a_container_that_outlives_its_nspawn_is_ended_before_the_next_boot(
    place: LocalSettings, tiny_tree: object
) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        made = await bed.create(config(passwd={}))
        await bed.until(lambda: bed.said(made, "tiny init is up"), "the boot")
        folder, first = bed.folder(made), await bed.leader(made)
        os.kill(folder.state().nspawn, signal.SIGKILL)
        await bed.until(lambda: folder.state().phase is Phase.STOPPED, "the end of the machine")
        assert not processes.command_line(first), "two machines on one root directory would ruin it"
        await bed.down()

    run(main())


def test_a_machine_whose_files_are_lost_is_found_and_deleted(
    place: LocalSettings, stock: Stock, tiny_tree: object
) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        before = stock()
        made = await bed.create(config(passwd={}))
        await bed.until(lambda: bed.said(made, "tiny init is up"), "the boot")
        for name in ("machine.json", "state.json", "../network.json", "../endpoint.json"):
            (bed.folder(made).path / name).unlink()
        for _ in range(3):
            for owned in await bed.cloud.sweep(REF):
                if owned.kind != "network" or not any(
                    o.kind == "instance" for o in await bed.cloud.sweep(REF)
                ):
                    await bed.cloud.delete_owned(REF, owned)
        assert await bed.cloud.sweep(REF) == ()
        assert stock().left(before) == {}  # type: ignore[attr-defined]

    run(main())


def test_the_way_out_is_opened_only_when_asked_for_and_closed_again(
    place: LocalSettings, stock: Stock
) -> None:
    async def main() -> None:
        before = stock()
        bed = Bed(replace(place, nat=True))
        await bed.cloud.ensure_network(REF, CLUSTER)
        opened = stock()
        assert "10.231.0.0/24" in opened.rules  # type: ignore[attr-defined]
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
        await bed.cloud.ensure_network(REF, CLUSTER)
        assert stock().left(opened) == {}, "a second call changes nothing"  # type: ignore[attr-defined]
        await bed.down()
        assert stock().left(before) == {}  # type: ignore[attr-defined]

    run(main())


def test_an_interface_of_somebody_else_is_refused_with_its_name(place: LocalSettings, stock: Stock) -> None:
    async def main() -> None:
        stock()
        bed = Bed(place)
        name = networks.bridge_of(REF)
        await run_command("ip", "link", "add", name, "type", "bridge")
        try:
            with pytest.raises(Rejected, match=f"there is an interface {name} already"):
                await bed.cloud.ensure_network(REF, CLUSTER)
            assert await bed.cloud.sweep(REF) == ()
        finally:
            await run_command("ip", "link", "delete", name)

    run(main())


def test_disks_of_this_machine_are_never_touched(place: LocalSettings, tiny_tree: object) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        wipe = {"disks": [{"device": "/dev/loop99", "wipeTable": True}]}
        with pytest.raises(Rejected, match=r"its config has storage\.disks"):
            await bed.create(config(passwd={}, storage=wipe))
        assert await bed.cloud.machines(REF) == ()
        await bed.down()

    run(main())


def test_a_failed_ignition_is_told_with_its_own_words(place: LocalSettings, tiny_tree: object) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        wrong = {
            "path": "/opt/x",
            "contents": {"source": "data:,x", "verification": {"hash": f"sha256-{'0' * 64}"}},
        }
        made = await bed.create(config(passwd={}, storage={"files": [wrong]}))
        await bed.until(lambda: bed.folder(made).state().phase is Phase.EMERGENCY, "the failure")
        assert await bed.state() is InstanceState.RUNNING, (
            "a cloud shows a machine in its emergency shell as running"
        )
        found = await bed.cloud.evidence(REF, made)
        assert found is not None and found.unit == "ignition"
        assert any("hash verification failed" in line for line in found.lines), found.lines
        await bed.down()

    run(main())


def test_a_feed_that_does_not_answer_is_told_while_ignition_tries(
    place: LocalSettings, tiny_tree: object
) -> None:
    async def main() -> None:
        bed = Bed(replace(place, image=str(tiny_tree)))
        nowhere = {"path": "/opt/x", "contents": {"source": "http://10.231.0.1:9/x.raw"}}
        made = await bed.create(config(passwd={}, storage={"files": [nowhere]}))
        async with asyncio.timeout(30):
            while (found := await bed.cloud.evidence(REF, made)) is None:
                await asyncio.sleep(0.1)
        assert found.unit == "ignition" and any("refused" in line for line in found.lines), found
        await bed.down()

    run(main())


def test_a_unit_that_fails_is_found_in_the_journal(place: LocalSettings) -> None:
    async def main() -> None:
        bed = Bed(place)
        text = UNIT.format("echo no such thing; exit 3")
        units = [{"name": "flatyard-identity.service", "enabled": True, "contents": text}]
        made = await bed.create(config(systemd={"units": units}))
        async with asyncio.timeout(60):
            while (found := await bed.cloud.evidence(REF, made)) is None:
                await asyncio.sleep(0.2)
        assert found.unit == "flatyard-identity.service" and found.source == "journal"
        assert any("no such thing" in line for line in found.lines), found.lines
        await bed.down()

    run(main())


def test_an_extension_is_merged_and_its_loop_device_goes_with_the_machine(
    place: LocalSettings, stock: Stock
) -> None:
    async def main() -> None:
        bed = Bed(place)
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
        assert stock().left(before) == {}  # type: ignore[attr-defined]

    run(main())
