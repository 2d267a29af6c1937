"""One simulated machine: from power to a node, through its real rendered Ignition.

It looks at nothing but its user data, its hardware, what it can fetch and what it can reach. What it has
become survives the process in a `Memory`, which its owner keeps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from flatyard.base.world import World, rfc3339_micro
from flatyard.ignition.fetch import Fetcher
from flatyard.node import layout
from flatyard.node.evidence import IGNITION, Report
from flatyard.node.milestones import Milestone
from flatyard.sim.boot import Active, Boot, CommandFailed
from flatyard.sim.firstboot import Emergency, FirstBoot, Installed
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubeadm import Kubeadm, Reach
from flatyard.sim.kubernetes import Kubelet, SimKubernetes
from flatyard.sim.timings import Spread, Timings

_RESTARTED = ("on-failure", "always", "on-abnormal")


class Phase(StrEnum):
    """How far a machine has come."""

    NEW = "new"
    """Nothing of its first boot is done, or it was interrupted: it boots from the beginning."""
    EMERGENCY = "emergency"
    """Ignition failed for good."""
    STUCK = "stuck"
    """It has booted, and no unit will make a node of it any more."""
    JOINED = "joined"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a machine is when its process ends. `on`: it runs; `kubelet`: once it has joined."""

    phase: Phase = Phase.NEW
    on: bool = False
    boots: int = 0
    kubelet: Kubelet | None = None
    evidence: Report | None = None
    stamps: Mapping[str, str] = field(default_factory=dict)
    """When each milestone of the first boot was first reached, RFC 3339 with microseconds."""

    def encode(self) -> bytes:
        """As JSON."""
        kubelet = self.kubelet.encode() if self.kubelet else None
        evidence = (self.evidence.unit, self.evidence.result, self.evidence.lines) if self.evidence else None
        raw = {
            "phase": self.phase,
            "on": self.on,
            "boots": self.boots,
            "kubelet": kubelet,
            "evidence": evidence,
            "stamps": dict(self.stamps),
        }
        return json.dumps(raw).encode()

    @classmethod
    def decode(cls, text: bytes) -> Memory:
        """What `encode` wrote."""
        raw = json.loads(text)
        evidence = raw["evidence"]
        return cls(
            Phase(raw["phase"]),
            raw["on"],
            raw["boots"],
            Kubelet.decode(raw["kubelet"]) if raw["kubelet"] else None,
            Report(evidence[0], evidence[1], tuple(evidence[2])) if evidence else None,
            raw.get("stamps", {}),
        )


class SimMachine:
    """A machine. `console` takes its console's lines, `remember` each new Memory."""

    def __init__(
        self,
        hardware: Hardware,
        *,
        kubernetes: SimKubernetes,
        fetch: Fetcher,
        reach: Reach,
        world: World,
        timings: Timings,
        console: Callable[[str], None],
        memory: Memory = Memory(),
        remember: Callable[[Memory], None] = lambda _: None,
    ) -> None:
        self.hardware = hardware
        self.memory = memory
        self.boot: Boot | None = None
        """The units of the running boot, for tests and reports."""
        self._kubernetes = kubernetes
        self._fetch = fetch
        self._reach = reach
        self._world = world
        self._timings = timings
        self._console = console
        self._remember = remember
        self._installed: Installed | None = None
        self._task: asyncio.Task[None] | None = None
        self._powered = 0.0

    @property
    def phase(self) -> Phase:
        return self.memory.phase

    @property
    def evidence(self) -> Report | None:
        """Why it did not become a node; None while it may still, or has."""
        return self.memory.evidence

    @property
    def node_name(self) -> str:
        """The node that it is, or what its cloud expects it to be."""
        return self.memory.kubelet.node_name if self.memory.kubelet else self.hardware.node_name

    # ---- power

    def power_on(self) -> None:
        """Start, or after a restart of the whole simulation go on where it was."""
        if self._task is not None and not self._task.done():
            return
        resumed = self.memory.on
        self._set(on=True)
        if self.memory.phase is Phase.JOINED and resumed:
            self._run(self._resume())
        elif self.memory.phase is Phase.EMERGENCY:
            return
        else:
            self._run(self._boot(first=self.memory.phase is Phase.NEW))

    def power_off(self) -> None:
        """Cut the power."""
        self._stop()
        self._set(on=False)

    def restart(self) -> None:
        """Reboot: off after a moment, then on again with the same disk."""
        if self.memory.phase is Phase.EMERGENCY:
            self._set(phase=Phase.NEW)
        self._run(self._reboot())

    def close(self) -> None:
        """The simulation ends; the machine's memory says that it runs."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _stop(self) -> None:
        self.close()
        self._kubernetes.machine_stopped(self.node_name)

    def _run(self, life: object) -> None:
        if self._task is not None:
            self._task.cancel()
        assert asyncio.iscoroutine(life)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(life, name=f"sim/machine/{self.hardware.instance_id}")

    def _set(self, **changes: object) -> None:
        self.memory = replace(self.memory, **changes)  # type: ignore[arg-type]
        self._remember(self.memory)

    # ---- life

    async def _resume(self) -> None:
        kubelet = self.memory.kubelet
        assert kubelet is not None
        self._kubernetes.kubelet_started(kubelet)
        if kubelet.control_plane:
            self._kubernetes.control_plane_started(kubelet.node_name)

    async def _reboot(self) -> None:
        self._say("systemd-shutdown[1]: Rebooting.")
        await asyncio.sleep(self._wait("shutdown"))
        self._kubernetes.machine_stopped(self.node_name)
        await self._boot(first=self.memory.phase is Phase.NEW)

    async def _boot(self, *, first: bool) -> None:
        self._powered = asyncio.get_running_loop().time()
        stamps = {} if first else self.memory.stamps
        self._set(boots=self.memory.boots + 1, evidence=None, stamps=stamps)
        self._stamp(Milestone.POWER)
        await asyncio.sleep(self._wait("firmware"))
        self._say(
            f"kernel: Linux version {self.hardware.image_version} "
            "(Flatcar Container Linux by Kinvolk, simulated by flatyard)"
        )
        joined = self.memory.kubelet
        if joined is not None and not first:
            await self._boot_again(joined)
            return
        try:
            installed = await self._ignite(first=first)
        except Emergency as problem:
            report = Report(IGNITION, "exit-code", problem.lines)
            self._set(phase=Phase.EMERGENCY, evidence=report)
            return
        await asyncio.sleep(self._wait("boot"))
        await self._userspace(installed)

    async def _boot_again(self, kubelet: Kubelet) -> None:
        """A boot of a machine that has joined: its disk is as it was, only the boot is new."""
        await asyncio.sleep(self._wait("boot"))
        again = replace(kubelet, boot_id=self._boot_id())
        self._set(kubelet=again)
        self._say(f"systemd[1]: Started {layout.KUBELET_UNIT}.")
        await asyncio.sleep(self._wait("kubelet_start"))
        self._kubernetes.kubelet_started(again)
        if again.control_plane:
            await asyncio.sleep(self._wait("static_pods"))
            self._kubernetes.control_plane_started(again.node_name)

    async def _ignite(self, *, first: bool) -> Installed:
        """Ignition runs at the first boot only; what it made stays on the disk."""
        if first or self._installed is None:
            run = FirstBoot(self.hardware, self._fetch, self._timings, self._wait, self._say)
            self._stamp(Milestone.IGNITION)
            self._installed = await run.run()
            self._stamp(Milestone.IGNITED)
        return self._installed

    async def _userspace(self, installed: Installed) -> None:
        boot = Boot(installed.tree, installed.devices, self.hardware, self._say)
        self.boot = boot
        boot.start_units()
        if boot.is_active(layout.CONTAINERD_UNIT):
            self._stamp(Milestone.CONTAINERD)
        self._note(boot)
        for name in boot.kubeadm:
            if await self._bootstrap(boot, name):
                return
        self._note(boot)
        self._set(phase=Phase.STUCK)

    async def _bootstrap(self, boot: Boot, name: str) -> bool:
        """One kubeadm unit, again and again if it restarts itself. True: the machine has joined."""
        unit = boot.manager.load(name)
        joins = "kubeadm init" not in boot.script(unit)
        self._stamp(Milestone.WAITING if joins else Milestone.INITIALISING)
        say = self._say_of_join if joins else self._say
        while True:
            kubeadm = Kubeadm(
                boot, self._kubernetes, self._reach, self._timings, self._wait, say, self._boot_id()
            )
            try:
                kubelet = await kubeadm.run(unit)
            except CommandFailed as problem:
                boot.attempt_failed(name, problem)
                self._note(boot)
                if unit.last("Restart") not in _RESTARTED:
                    return False
                await asyncio.sleep(_seconds(unit.last("RestartSec")))
                boot.start_again(name)
                continue
            boot.finished(name)
            self._stamp(Milestone.JOINED)
            self._stamp(Milestone.REGISTERED)
            self._set(phase=Phase.JOINED, kubelet=kubelet, evidence=None)
            return True

    def _note(self, boot: Boot) -> None:
        failed = [name for name, state in boot.states.items() if state.active is Active.FAILED]
        known = [name for name in failed if name in layout.EVIDENCE_ORDER]
        if failed:
            self._set(evidence=boot.evidence((known or failed)[-1]))

    # ---- small things

    def _stamp(self, milestone: Milestone) -> None:
        """Kept with the next `_set`: a machine that is killed before boots from the beginning."""
        if milestone.value not in self.memory.stamps:
            stamps = {**self.memory.stamps, milestone.value: rfc3339_micro(self._world.now())}
            self.memory = replace(self.memory, stamps=stamps)

    def _say_of_join(self, line: str) -> None:
        if "[preflight]" in line:
            self._stamp(Milestone.JOINING)
        self._say(line)

    def _wait(self, what: str) -> float:
        spread = getattr(self._timings, what)
        assert isinstance(spread, Spread)
        return spread.draw(self._world.random())

    def _boot_id(self) -> str:
        return f"{self.hardware.instance_id}-{self.memory.boots}"

    def _say(self, line: str) -> None:
        """A console line with the seconds since power, as the kernel stamps them."""
        seconds = asyncio.get_running_loop().time() - self._powered
        self._console(f"[{seconds:12.6f}] {line}")


def _seconds(text: str) -> float:
    """RestartSec= in its plain form; systemd's default is 100 ms."""
    digits = text.removesuffix("s")
    return float(digits) if digits.replace(".", "", 1).isdigit() else 0.1
