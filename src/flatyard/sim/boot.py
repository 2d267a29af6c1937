"""The boot of a simulated machine after Ignition: which units start, which do not, and what is said about it.

systemd's part is derived from the tree (`systemd`); of the programs, containerd, the identity script and
kubeadm are played, every other one is taken to succeed when its executable is there. The kubelet's own life
is the cluster's business (`kubernetes`).
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from flatyard.ignition.tree import NodeKind, RootError, Tree, make_parents
from flatyard.node import layout
from flatyard.node.evidence import MOST_LINES, Report, format_report
from flatyard.sim.base_tree import command_version
from flatyard.sim.extensions import merge_extensions
from flatyard.sim.hardware import Hardware
from flatyard.sim.systemd import Manager, Vendor
from flatyard.sim.unit import Unit

PATH = ("/usr/local/bin", "/usr/bin", "/opt/bin")
_KUBEADM = re.compile(r"\bkubeadm (?:init|join)\b")
_PROVIDER = re.compile(r"^p=(.*)$", re.MULTILINE)
JOURNAL = 500
"""Lines that a boot's journal keeps."""
Say = Callable[[str], None]


class Active(Enum):
    """systemd's ActiveState, as far as a boot needs it."""

    INACTIVE = "inactive"
    ACTIVE = "active"
    FAILED = "failed"


@dataclass(slots=True)
class UnitState:
    """What became of one unit; `result` is systemd's."""

    active: Active = Active.INACTIVE
    result: str = "success"


class CommandFailed(Exception):
    """A unit's command ended badly; the text is its last words, `result` systemd's word for it."""

    def __init__(self, message: str, result: str = "exit-code") -> None:
        super().__init__(message)
        self.result = result


class Boot:
    """One boot into the real root. `start_units` does all but kubeadm, whose units are then in `kubeadm`."""

    def __init__(self, tree: Tree, devices: frozenset[str], hardware: Hardware, say: Say) -> None:
        self.hardware = hardware
        self._say = say
        self._devices = devices
        self.states: dict[str, UnitState] = {}
        self._journal: deque[tuple[str, str]] = deque(maxlen=JOURNAL)
        self.kubeadm: list[str] = []
        """Units that run kubeadm and may start."""
        self._vendor = Vendor(hardware.image_version, hardware.arch, hardware.kubernetes)
        self.tree = self._with_extensions(tree)
        self.manager = Manager(self.tree, self._vendor)

    def _with_extensions(self, tree: Tree) -> Tree:
        before = Manager(tree, self._vendor)
        unit = before.load(layout.SYSEXT_UNIT)
        if unit.problem or layout.SYSEXT_UNIT not in before.boot() or before.unmet(layout.SYSEXT_UNIT):
            return tree.overlay()
        merged = merge_extensions(tree, self.hardware.arch)
        state = UnitState(Active.ACTIVE)
        self.states[layout.SYSEXT_UNIT] = state
        for line in merged.log:
            self.note(layout.SYSEXT_UNIT, line)
            self._say(f"systemd-sysext[710]: {line}")
        if merged.failed:
            self._fail(layout.SYSEXT_UNIT, state, "exit-code")
        self._vendor = replace(self._vendor, extensions=merged.contents)
        return merged.tree.overlay()

    # ---- units

    def start_units(self) -> None:
        """Start everything that the default target pulls in, in order."""
        failed_already = [name for name, state in self.states.items() if state.active is Active.FAILED]
        for name in failed_already:
            self.report(name)
        for name in self.manager.boot():
            if name not in self.states:
                self.states[name] = UnitState()
                self._start(self.manager.load(name))

    def _start(self, unit: Unit) -> None:
        state = self.states[unit.name]
        if unit.problem:
            self.note(unit.name, f"Unit {unit.name} is {unit.problem}.")
            return
        blocker = self.blocker(unit.name)
        if blocker:
            self._say(f"systemd[1]: Dependency failed for {unit.name} ({blocker}).")
            self.note(unit.name, f"Dependency failed: {blocker}")
            self._fail(unit.name, state, "dependency")
            return
        unmet = self.manager.unmet(unit.name) or self.manager.unmet(unit.name, "Assert")
        if unmet:
            self.note(unit.name, f"{unit.name} was skipped because of an unmet condition check ({unmet}).")
            if unmet.startswith("Assert"):
                self._fail(unit.name, state, "assert")
            return
        self._run(unit, state)

    def blocker(self, name: str) -> str:
        """A unit without which this one does not start, and which is not there or has failed."""
        for other in self.manager.strong(name):
            state, loaded = self.states.get(other), self.manager.load(other)
            if loaded.problem:
                return f"{other} is {loaded.problem}"
            if state is not None and state.active is Active.FAILED:
                return f"{other} failed"
        return ""

    def _run(self, unit: Unit, state: UnitState) -> None:
        try:
            if unit.kind == "mount":
                self._mount(unit)
            elif unit.kind == "service" and self.runs_kubeadm(unit):
                self.kubeadm.append(unit.name)
                return
            elif unit.kind == "service":
                self._service(unit)
        except CommandFailed as problem:
            self.note(unit.name, str(problem))
            self._say(f"{unit.name.rpartition('.')[0]}[801]: {problem}")
            self._fail(unit.name, state, problem.result)
            self.report(unit.name)
            return
        state.active = Active.ACTIVE
        if unit.kind != "target":
            self._say(f"systemd[1]: Started {unit.name}.")

    def _fail(self, name: str, state: UnitState, result: str) -> None:
        state.active, state.result = Active.FAILED, result
        self.note(name, f"{name}: Failed with result '{result}'.")
        self._say(f"systemd[1]: {name}: Failed with result '{result}'.")
        self._say(f"systemd[1]: Failed to start {name}.")

    def _mount(self, unit: Unit) -> None:
        device, where = unit.last("What", "Mount"), unit.last("Where", "Mount")
        if device.startswith("/dev/") and device not in self._devices:
            raise CommandFailed(f"{device}: device job timed out; {where} is not mounted", "dependency")

    # ---- services

    def _service(self, unit: Unit) -> None:
        for words in unit.commands():
            self.command(unit, words)
        if unit.name == layout.CONTAINERD_UNIT:
            self._containerd(unit)

    def command(self, unit: Unit, words: list[str]) -> None:
        """One command of a service; raises CommandFailed."""
        if not words:
            return
        marks = words[0][: len(words[0]) - len(words[0].lstrip("-@:+!"))]
        executable = words[0].removeprefix(marks)
        path = self.find(executable)
        if path is None and "-" not in marks:
            raise CommandFailed(
                f"Failed to locate executable {executable}: No such file or directory; "
                "Main process exited, code=exited, status=203/EXEC"
            )
        node = self.tree.get(path) if path else None
        if node is not None and not node.mode & 0o111 and "-" not in marks:
            raise CommandFailed(f"Failed to execute {executable}: Permission denied; status=203/EXEC")
        if path == layout.IDENTITY_SCRIPT and node is not None:
            self._identity(node.content.decode("utf-8", "replace"))

    def find(self, executable: str) -> str | None:
        """Where an executable lies: as given, or in the usual folders."""
        candidates = [executable] if "/" in executable else [f"{folder}/{executable}" for folder in PATH]
        for path in candidates:
            node = self.tree.get(path)
            if node is not None and node.kind is NodeKind.FILE:
                return path
        return None

    def version(self, executable: str) -> str:
        """The version of a Kubernetes command on this machine; empty when it is not there."""
        path = self.find(executable)
        node = self.tree.get(path) if path else None
        return command_version(node.content) if node is not None else ""

    def _containerd(self, unit: Unit) -> None:
        words = [word for command in unit.commands() for word in command]
        path = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"), "")
        path = next((word.partition("=")[2] for word in words if word.startswith("--config=")), path)
        text = self.tree.text(path) if path else ""
        if text is None:
            raise CommandFailed(f"containerd: open {path}: no such file or directory")
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            raise CommandFailed(f"containerd: failed to load TOML: {path}: {problem}") from None

    def _identity(self, script: str) -> None:
        """flatyard's identity script, with what this machine's metadata service would answer."""
        by_file = f"cat {layout.HOSTNAME_FILE}" in script
        name = (self.tree.text(layout.HOSTNAME_FILE) or "").strip() if by_file else self.hardware.node_name
        provider = _PROVIDER.search(script)
        provider_id = self.hardware.provider_id if provider is None or provider[1] else ""
        template = self.tree.text(layout.KUBEADM_CONFIG)
        if template is None:
            raise CommandFailed(f"sed: can't read {layout.KUBEADM_CONFIG}: No such file or directory")
        self.write(layout.ENV_FILE, f"NODE_NAME={name}\nPROVIDER_ID={provider_id}\n")
        ready = template.replace(layout.PLACEHOLDER_NODE_NAME, name)
        self.write(layout.KUBEADM_READY_CONFIG, ready.replace(layout.PLACEHOLDER_PROVIDER_ID, provider_id))

    def write(self, path: str, text: str) -> None:
        """A file that a program on the machine writes."""
        real = self.tree.resolve(path)
        make_parents(self.tree, real)
        self.tree.write(real, text.encode(), 0o600)

    # ---- kubeadm and the kubelet

    def runs_kubeadm(self, unit: Unit) -> bool:
        """Whether a service's commands, or the scripts that they name, run kubeadm init or join."""
        return bool(_KUBEADM.search(self.script(unit)))

    def script(self, unit: Unit) -> str:
        """A service's commands followed by the text of the scripts that they run."""
        parts: list[str] = []
        for words in unit.commands():
            parts.append(
                " ".join(posixpath.basename(word) if index == 0 else word for index, word in enumerate(words))
            )
            for word in words:
                path = word.lstrip("-@:+!")
                text = (
                    self.tree.text(path)
                    if path.startswith(("/etc/", "/opt/", "/var/", "/usr/local/"))
                    else None
                )
                parts += [text] if text else []
        return "\n".join(parts)

    def kubelet_problem(self) -> str:
        """Why the kubelet does not run once kubeadm has configured it; empty when it does."""
        unit = self.manager.load(layout.KUBELET_UNIT)
        if unit.problem:
            return f"Unit {layout.KUBELET_UNIT} is {unit.problem}."
        blocker = self.blocker(layout.KUBELET_UNIT)
        if blocker:
            return f"Dependency failed for {layout.KUBELET_UNIT}: {blocker}"
        for words in unit.commands():
            executable = words[0].lstrip("-@:+!")
            if not words[0].startswith("-") and self.find(executable) is None:
                return f"{layout.KUBELET_UNIT}: Failed to locate executable {executable}: No such file or directory"
        return ""

    def finished(self, name: str) -> None:
        """A kubeadm unit has done its work."""
        self.states[name].active = Active.ACTIVE
        self._say(f"systemd[1]: Finished {name}.")

    def attempt_failed(self, name: str, problem: CommandFailed) -> None:
        """A kubeadm unit's attempt ended badly; its evidence goes out as its unit says."""
        state = self.states[name]
        for line in str(problem).splitlines():
            self.note(name, line)
            self._say(f"{name.rpartition('.')[0]}[902]: {line}")
        self._fail(name, state, problem.result)
        self.report(name)

    # ---- evidence

    def report(self, name: str) -> None:
        """What the node's evidence script says when a unit fails, if the unit calls for it."""
        unit = self.manager.load(name)
        template = layout.EVIDENCE_UNIT.rpartition("@")[0]
        called = any(other.startswith(f"{template}@") for other in unit.all("OnFailure"))
        called = called and not self.manager.load(f"{template}@{name}.service").problem
        by_itself = any(layout.EVIDENCE_SCRIPT in line for line in unit.all("ExecStopPost", "Service"))
        if not (called or by_itself) or self.find(layout.EVIDENCE_SCRIPT) is None:
            return
        for line in format_report(self.evidence(name)).splitlines():
            self._say(line)

    def evidence(self, name: str) -> Report:
        """The first failing unit, or what a script named as the cause, with its last lines."""
        failing = [
            n for n in layout.EVIDENCE_ORDER if n in self.states and self.states[n].active is Active.FAILED
        ]
        cause = (self.tree.text(layout.CAUSE_FILE) or "").strip()
        blamed = cause or (failing[0] if failing else name)
        lines = [line for one in dict.fromkeys((blamed, name)) for line in self._last_lines(one)]
        result = self.states[blamed].result if blamed in self.states else "success"
        return Report(blamed, result, tuple(lines))

    def _last_lines(self, name: str) -> list[str]:
        """As many of one unit as the evidence script takes."""
        return [line for unit, line in self._journal if unit == name][-MOST_LINES // 2 :]

    def note(self, name: str, line: str) -> None:
        """A line in the journal of one unit."""
        self._journal.append((name, line))

    def is_active(self, name: str) -> bool:
        """Whether a unit has started."""
        state = self.states.get(name)
        return state is not None and state.active is Active.ACTIVE

    def start_again(self, name: str) -> None:
        """A new attempt of a unit starts what it wants and what has failed meanwhile once more."""
        for other in (*self.manager.strong(name), *self.manager.weak(name)):
            state = self.states.get(other)
            if state is not None and state.active is Active.FAILED:
                self.states[other] = UnitState()
                self._start(self.manager.load(other))

    def forget_cause(self) -> None:
        """A new attempt begins without blame."""
        try:
            self.tree.remove(self.tree.resolve(layout.CAUSE_FILE))
        except RootError:
            return
