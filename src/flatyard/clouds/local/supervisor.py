"""One machine's supervisor: `python -m flatyard.clouds.local.supervisor FOLDER LOCK IGNITION`.

It is started in a session and a mount namespace of its own, outlives whoever started it, and holds the machine's lock
(inherited as descriptor LOCK) as long as it lives. It makes the root directory, runs Ignition at the first boot,
starts the container and starts it again when the machine reboots. What it starts dies with it, so that a killed
supervisor is a machine without power and not a machine out of control.

SIGTERM powers the machine off, SIGHUP reboots it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from flatyard.base.world import RealWorld, World, rfc3339_micro
from flatyard.clouds.local import cgroups, ignition_run, loops, nspawn, processes, rootfs
from flatyard.clouds.local.commands import CommandFailed
from flatyard.clouds.local.folders import MachineFile, MachineFolder, Phase

GRACE = 20.0
"""Seconds that a machine has to go down by itself."""
REBOOT = signal.SIGRTMIN + 5
POWER_OFF = signal.SIGRTMIN + 4
"""systemd as PID 1 starts reboot.target and poweroff.target on these (systemd(1), signals)."""


class Supervisor:
    """`run` returns when the machine is down for good."""

    def __init__(self, folder: MachineFolder, machine: MachineFile, ignition: Path, world: World) -> None:
        self._folder = folder
        self._machine = machine
        self._ignition = ignition
        self._world = world
        self._root = folder.root
        self._state = replace(folder.state(), nspawn=0, error="")
        self._process: asyncio.subprocess.Process | None = None
        self._again = False
        self._going: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Prepare, provision, then boot until the machine stays down."""
        try:
            if not await self._ready():
                return
            await self._boots()
        except (OSError, CommandFailed) as error:
            self._write(Phase.FAILED, error=str(error))

    async def _ready(self) -> bool:
        """Whether the root directory is there and provisioned."""
        tree, root = Path(self._machine.tree), self._folder.root
        if not self._state.provisioned:
            if not self._folder.user_data.exists():
                self._write(
                    Phase.FAILED, error="its user data is gone, and its state does not say that it was used"
                )
                return False
            self._write(Phase.PREPARING)
            await rootfs.make(tree, root)
        used = (self._ignition, Path(sys.prefix), Path(self._machine.images or "/"))
        self._root = await rootfs.mount(tree, root, *used)
        if self._state.provisioned:
            return True
        self._write(Phase.PROVISIONING)
        if not await ignition_run.provision(self._ignition, self._folder, self._root):
            self._write(Phase.EMERGENCY, error="Ignition failed")
            return False
        self._state = replace(self._state, provisioned=True)
        return True

    async def _boots(self) -> None:
        where = cgroups.hierarchies()
        await self._clear(where)
        while True:
            code = await self._boot(where)
            await self._clear(where)
            if code != nspawn.REBOOTED and not self._again:
                break
            self._again = False
        if code <= 0:
            self._write(Phase.STOPPED, error="" if code == 0 else f"killed by signal {-code}")
        else:
            self._write(Phase.FAILED, error=f"systemd-nspawn ended with {code}: {self._last_words()}")

    async def _boot(self, where: cgroups.Hierarchies) -> int:
        """Run the container once; nspawn's exit code, negative for a signal."""
        machine = self._machine
        await nspawn.unplug(machine.id)
        groups = cgroups.make(where, machine.cluster_id, machine.id, machine.cpus, machine.memory_mb)
        nodes = loops.make_nodes(self._folder.path / "devices")
        command = nspawn.command(machine, self._root, groups, nodes, unified=where.unified)
        with self._folder.console.open("ab") as console, self._folder.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=log,
                env=dict(nspawn.environment(unified=where.unified)),
            )
        self._state = replace(self._state, boots=self._state.boots + 1)
        self._write(Phase.RUNNING, nspawn=self._process.pid)
        code = await self._process.wait()
        self._process = None
        return code

    async def _clear(self, where: cgroups.Hierarchies) -> None:
        """End what a killed nspawn or supervisor left running: two machines on one root directory would ruin it."""
        whose = (where, self._machine.cluster_id, self._machine.id)
        while (left := cgroups.processes(*whose)) or not cgroups.clear(*whose):
            for pid in left:
                processes.end(pid)
            await asyncio.sleep(0.02)

    def reboot(self) -> None:
        self._again = True
        self._signal(REBOOT)

    def power_off(self) -> None:
        self._again = False
        if self._process is None:
            self._write(Phase.STOPPED)
            sys.exit(0)
        self._signal(POWER_OFF)

    def _signal(self, number: int) -> None:
        """Ask the machine's PID 1, and take the power away when it does not go."""
        process = self._process
        if process is None:
            return
        leader = processes.leader(process.pid)
        with suppress(ProcessLookupError):
            if leader:
                os.kill(leader, number)
        self._going = asyncio.ensure_future(self._insist(process))

    async def _insist(self, process: asyncio.subprocess.Process) -> None:
        await asyncio.sleep(GRACE)
        if self._process is process:
            process.kill()

    def _write(self, phase: Phase, *, nspawn: int = 0, error: str = "") -> None:
        stamps = {phase.value: rfc3339_micro(self._world.now()), **self._state.stamps}
        self._state = replace(
            self._state, phase=phase, nspawn=nspawn, error=error, stamps=stamps, pid=os.getpid()
        )
        self._folder.write_state(self._state)

    def _last_words(self) -> str:
        return " | ".join(self._folder.log.read_text(errors="replace").splitlines()[-3:])


async def supervise(folder: MachineFolder, ignition: Path) -> int:
    """Run the machine of a folder; 1 when the folder says nothing of one."""
    machine = folder.machine()
    if machine is None or folder.deleting.exists():
        print(f"{folder.path}: no machine to run", file=sys.stderr)
        return 1
    supervisor = Supervisor(folder, machine, ignition, RealWorld())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, supervisor.reboot)
    loop.add_signal_handler(signal.SIGTERM, supervisor.power_off)
    await supervisor.run()
    return 0


def main() -> int:
    """The lock, descriptor `argv[2]`, is held by being open; children get no copy of it."""
    os.set_inheritable(int(sys.argv[2]), False)
    return asyncio.run(supervise(MachineFolder(Path(sys.argv[1])), Path(sys.argv[3])))


if __name__ == "__main__":
    sys.exit(main())
