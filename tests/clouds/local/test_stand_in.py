"""The stand-in for Flatcar: what it says of itself, and its update_engine, asked as Flatcar's would be."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flatyard.base.errors import Refused
from flatyard.clouds.cloud import ClusterRef, CreateRequest, Instance, Role
from flatyard.clouds.local import evidence, networks, processes, stand_in, update_engine
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.commands import Done
from flatyard.clouds.local.images import STAND_IN
from flatyard.clouds.local.settings import LocalSettings, architecture
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine
from flatyard.model.meta import ObjectMeta

REF = ClusterRef("01JGFJJZ00HHHHHHHHHHHHHHHH", "prod")
IDLE, NEED_REBOOT = "UPDATE_STATUS_IDLE", "UPDATE_STATUS_UPDATED_NEED_REBOOT"
OFFER, WATCHED = "/run/flatyard-stand-in/update", "/run/watched"


def test_another_update_engine_is_another_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stand_in.key()
    monkeypatch.setattr(update_engine, "source", lambda: "package main\n")
    assert stand_in.key() != before


def test_a_machine_without_go_is_told_so_when_the_stand_in_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Refused, match="there is no `go` on PATH"):
        asyncio.run(update_engine.build(tmp_path, architecture(), tmp_path / "work", tmp_path / "program"))


def test_the_bus_lets_core_do_what_flatcar_lets_it_do_and_no_more() -> None:
    text = update_engine.FILES["usr/share/dbus-1/system.d/com.coreos.update1.conf"]
    policies = {p.get("user", p.get("context")): p for p in ElementTree.fromstring(text).iter("policy")}
    members = [rule.get("send_member") for rule in policies["core"]]
    assert members == ["AttemptUpdate", "ResetStatus", "GetStatus"]
    assert [rule.tag for rule in policies["default"]] == ["deny"]
    assert policies["root"][0].get("own") == "com.coreos.update1"


class Machine:
    """One booted machine of the stand-in."""

    def __init__(self, place: LocalSettings) -> None:
        self._cloud = LocalCloud(place)
        self._place = place
        self._made: Instance | None = None

    async def boot(self) -> None:
        wanted = model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(cloud=model.CloudChoice(local=model.LocalCloud())),
        )
        network = await self._cloud.ensure_network(REF, wanted)
        units = [{"name": "hello.service", "enabled": True, "contents": HELLO}]
        self._made = await self._cloud.create(
            CreateRequest(
                cluster=REF,
                machine_id="01JGFJJZ00KKKKKKKKKKKKKKKK",
                attempt=1,
                name="m1",
                role=Role.WORKER,
                pool="general",
                zone="",
                image=STAND_IN,
                machine=LocalMachine(),
                network=network,
                user_data=json.dumps(
                    {"ignition": {"version": "3.4.0"}, "systemd": {"units": units}}
                ).encode(),
            )
        )
        await self.until_booted(1)

    async def until_booted(self, times: int) -> None:
        folder = networks.folder_of(self._place, REF).folder(self.id)
        async with asyncio.timeout(60):
            while sum("update_engine is up" in line for line in evidence.console(folder)) < times:
                await asyncio.sleep(0.05)

    @property
    def id(self) -> str:
        assert self._made is not None
        return self._made.id

    async def run(self, *command: str) -> Done:
        folder = networks.folder_of(self._place, REF).folder(self.id)
        return await processes.inside(processes.leader(folder.state().nspawn), *command)

    async def status(self) -> dict[str, str]:
        """What the client prints, which must be what the bus says."""
        printed = (await self.run("sh", "-c", "update_engine_client -status 2>/dev/null")).said
        fields = dict(line.split("=") for line in printed.splitlines())
        assert list(fields) == ["LAST_CHECKED_TIME", "PROGRESS", "CURRENT_OP", "NEW_VERSION", "NEW_SIZE"]
        said = (await self.run(*CALL, "GetStatus")).said.split()
        time, progress, operation, version, size = fields.values()
        assert progress == "0.000000"
        assert said == ["xdssx", time, "0", f'"{operation}"', f'"{version}"', size]
        return fields

    async def until(self, operation: str) -> dict[str, str]:
        await self.until_said(operation, *CALL, "GetStatus")
        return await self.status()

    async def until_said(self, words: str, *command: str) -> None:
        """Run a command until it says so."""
        said = Done(0, "")
        try:
            async with asyncio.timeout(20):
                while words not in said.said:
                    said = await self.run(*command)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{' '.join(command)} does not say {words!r} but {said}")

    async def down(self) -> None:
        for instance in await self._cloud.machines(REF):
            await self._cloud.delete(REF, instance)
        await self._cloud.delete_network(REF)
        assert await self._cloud.sweep(REF) == ()

    async def restart(self) -> None:
        assert self._made is not None
        await self._cloud.restart(REF, self._made)
        await self.until_booted(2)


BUS = ("com.coreos.update1", "/com/coreos/update1", "com.coreos.update1.Manager")
CALL = ("busctl", "call", *BUS)
JOURNAL = ("journalctl", "--no-pager", "--output=cat", "--unit=update-engine")
HELLO = """\
[Unit]
After=update-engine.service
Requires=update-engine.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo update_engine is up >/dev/console'
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def machine(place: LocalSettings) -> Machine:
    return Machine(place)


def in_a_booted(machine: Machine, main: Callable[[Machine], object]) -> None:
    async def whole() -> None:
        await machine.boot()
        await main(machine)  # type: ignore[misc]
        await machine.down()

    asyncio.run(whole())


@pytest.mark.real
def test_the_bus_and_the_client_answer_alike_through_an_update(machine: Machine) -> None:
    async def main(machine: Machine) -> None:
        assert (await machine.status())["CURRENT_OP"] == IDLE
        assert "stand-in" in (await machine.run("update_engine_client", "-status")).said
        assert "stand-in" in (await machine.run("systemctl", "status", "--no-pager", "update-engine")).said
        described = (await machine.run("busctl", "introspect", *BUS)).said
        for line in (
            ".GetStatus method - xdssx",
            ".AttemptUpdate method - -",
            ".StatusUpdate signal xdssx -",
        ):
            assert line in " ".join(described.split())

        watch = f"update_engine_client -watch_for_updates >{WATCHED} 2>&1"
        assert (await machine.run("systemd-run", "--quiet", "sh", "-c", watch)).code == 0
        await machine.until_said("Watching", "cat", WATCHED)
        assert (await machine.run("sh", "-c", f"echo 4628.1.0 480000000 >{OFFER}")).code == 0
        fields = await machine.until(NEED_REBOOT)
        assert (fields["NEW_VERSION"], fields["NEW_SIZE"]) == ("4628.1.0", "480000000")
        assert int(fields["LAST_CHECKED_TIME"]) > 0
        assert (await machine.run("test", "-e", "/run/reboot-required")).code == 0
        watched = (await machine.run("cat", WATCHED)).said
        states = [line.split()[-1] for line in watched.splitlines() if "current_operation" in line]
        assert list(dict.fromkeys(states)) == [
            f"UPDATE_STATUS_{name}"
            for name in (
                "CHECKING_FOR_UPDATE",
                "UPDATE_AVAILABLE",
                "DOWNLOADING",
                "FINALIZING",
                "UPDATED_NEED_REBOOT",
            )
        ]

        assert (await machine.run("systemctl", "restart", "update-engine")).code == 0
        assert (await machine.until(NEED_REBOOT))["NEW_VERSION"] == "0.0.0", (
            "as the real one, which forgets it"
        )
        assert (await machine.run("update_engine_client", "-reset_status")).code == 0
        fields = await machine.until(IDLE)
        assert (fields["NEW_VERSION"], fields["NEW_SIZE"]) == ("0.0.0", "0")
        done = await machine.run("update_engine_client", "-update")
        assert done.code == 0 and "Update succeeded -- reboot needed." in done.said
        await machine.restart()
        assert (await machine.status())["CURRENT_OP"] == IDLE

    in_a_booted(machine, main)


@pytest.mark.real
def test_what_is_refused_and_what_finds_nothing(machine: Machine) -> None:
    async def main(machine: Machine) -> None:
        as_core = ("setpriv", "--reuid=core", "--regid=core", "--init-groups")
        as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        assert IDLE in (await machine.run(*as_core, *CALL, "GetStatus")).said
        assert "Access denied" in (await machine.run(*as_nobody, *CALL, "GetStatus")).said
        assert (await machine.run(*as_core, "sh", "-c", f"echo 4628.1.0 >{OFFER}")).code != 0
        assert (await machine.run("update_engine_client", "-nonsense")).code == 1

        done = await machine.run("update_engine_client", "-update")
        assert done.code == 0 and "No update available" in done.said
        assert (await machine.run("sh", "-c", f"echo newest >{OFFER}")).code == 0
        await machine.until_said("not a release", *JOURNAL)
        assert (await machine.until(IDLE))["NEW_VERSION"] == "0.0.0"
        assert (await machine.run("sh", "-c", f"chmod 666 {OFFER}; echo 4628.1.0 >{OFFER}")).code == 0
        await machine.until_said("must be root's", *JOURNAL)
        assert (await machine.until(IDLE))["NEW_VERSION"] == "0.0.0"

    in_a_booted(machine, main)
