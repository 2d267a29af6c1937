"""What systemd makes of the units in a tree: which it loads, which a boot starts, in which order, and why not.

A subset of systemd.unit(5), systemd.preset(5) and systemd.special(7): search paths, drop-ins, masks, presets,
[Install], the requirement and ordering dependencies, RequiresMountsFor, conditions and assertions.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from flatyard.ignition.presets import split_instance
from flatyard.ignition.tree import Node, NodeKind, RootError, Tree
from flatyard.ignition.unitfile import UnitError, parse_unit
from flatyard.sim.base_tree import flatcar_root
from flatyard.sim.extensions import with_extensions
from flatyard.sim.unit import STRONG, WEAK, Unit, escape_path, expand
from flatyard.sysext.simulated import SimulatedContents

SEARCH = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
_OWN_UNITS, _USR_UNITS = SEARCH[:2], SEARCH[2:]
PRESETS = ("/etc/systemd/system-preset", "/run/systemd/system-preset", "/usr/lib/systemd/system-preset")
DEFAULT_TARGET = "multi-user.target"
Entries = tuple[tuple[str, Node], ...]


class UnitSet:
    """All units of one tree and how they hang together; equal machines share one."""

    def __init__(self, entries: Entries) -> None:
        self._tree = Tree(_with_folders(entries))
        self._units: dict[str, Unit] = {}
        self._preset = self._read_presets()
        self._installed = self._install()
        self._order: tuple[str, ...] | None = None
        self._strong: dict[str, tuple[str, ...]] = {}

    # ---- loading

    def load(self, name: str) -> Unit:
        """The unit by a name, loaded once."""
        if name not in self._units:
            self._units[name] = self._load(name)
        return self._units[name]

    def _load(self, name: str) -> Unit:
        names = [name]
        template, instance = split_instance(name)
        if instance is not None and template != name:
            names.append(template)
        path = next((found for n in names if (found := self._find(n))), None)
        if path is None:
            return Unit(name, problem="not-found")
        node = self._tree.lstat(path)
        if node is not None and node.kind is NodeKind.LINK and node.target == "/dev/null":
            return Unit(name, problem="masked")
        text = self._tree.text(path)
        if text is None:
            return Unit(name, problem="not-found")
        if not text and node is not None and node.kind is NodeKind.FILE:
            return Unit(name, problem="masked")
        return self._parsed(name, [text, *self._dropins(names)])

    def _find(self, name: str) -> str | None:
        for directory in SEARCH:
            path = f"{directory}/{name}"
            if self._tree.lstat(path) is not None:
                return path
        return None

    def _dropins(self, names: list[str]) -> list[str]:
        found: dict[str, str] = {}
        for directory in reversed(SEARCH):
            for name in reversed(names):
                folder = f"{directory}/{name}.d"
                for entry in self._names(folder):
                    if entry.endswith(".conf"):
                        found[entry] = self._tree.text(f"{folder}/{entry}") or ""
        return [found[entry] for entry in sorted(found)]

    def _names(self, directory: str) -> tuple[str, ...]:
        node = self._tree.lstat(directory)
        return self._tree.listdir(directory) if node is not None and node.kind is NodeKind.DIRECTORY else ()

    def _parsed(self, name: str, texts: list[str]) -> Unit:
        unit = Unit(name)
        try:
            for text in texts:
                for option in parse_unit(text):
                    key = (option.section, option.name)
                    if option.value == "":
                        unit.options[key] = []
                    else:
                        unit.options.setdefault(key, []).append(option.value)
        except UnitError as problem:
            return Unit(name, problem=f"bad-setting: {problem}")
        if unit.kind == "service" and not unit.all("ExecStart", "Service") and not unit.last("Type"):
            return Unit(name, unit.options, problem="bad-setting: no ExecStart= setting")
        return unit

    # ---- presets and [Install]

    def _read_presets(self) -> list[tuple[str, str, tuple[str, ...]]]:
        files: dict[str, str] = {}
        for directory in reversed(PRESETS):
            for entry in self._names(directory):
                files[entry] = self._tree.text(f"{directory}/{entry}") or ""
        rules = []
        for entry in sorted(files):
            for line in files[entry].splitlines():
                words = line.split()
                if len(words) >= 2 and words[0] in ("enable", "disable"):
                    rules.append((words[0], words[1], tuple(words[2:])))
        return rules

    def _install(self) -> dict[str, dict[str, bool]]:
        """What `systemctl preset-all` links at first boot: by target the units, and whether it requires them."""
        found: dict[str, dict[str, bool]] = {}
        for verb, name, instances in self._preset:
            if verb != "enable":
                continue
            template, _, suffix = name.rpartition(".")
            names = [f"{template}{instance}.{suffix}" for instance in instances] if instances else [name]
            for one in names:
                self._install_unit(one, found)
        return found

    def _install_unit(self, name: str, found: dict[str, dict[str, bool]]) -> None:
        unit = self.load(name)
        for option, required in (("WantedBy", False), ("RequiredBy", True), ("UpheldBy", False)):
            for value in unit.options.get(("Install", option), []):
                for target in value.split():
                    found.setdefault(target, {})[name] = required
        for value in unit.options.get(("Install", "Also"), []):
            for other in value.split():
                if other != name:
                    self._install_unit(other, found)

    def is_enabled(self, name: str) -> bool:
        """Whether a boot would start the unit because of its own [Install] or a link."""
        return any(name in units for units in self._installed.values()) or any(
            self._tree.lstat(f"{directory}/{entry}/{name}") is not None
            for directory in SEARCH
            for entry in self._names(directory)
            if entry.endswith((".wants", ".requires", ".upholds"))
        )

    # ---- dependencies

    def strong(self, name: str) -> tuple[str, ...]:
        """Units without which this one does not start."""
        if name not in self._strong:
            self._strong[name] = self._find_strong(name)
        return self._strong[name]

    def _find_strong(self, name: str) -> tuple[str, ...]:
        unit = self.load(name)
        found = [other for option in STRONG for other in unit.all(option)]
        found += self._linked(name, ".requires")
        found += [other for other, required in self._installed.get(name, {}).items() if required]
        found += self.mounts(name)
        return tuple(dict.fromkeys(found))

    def weak(self, name: str) -> tuple[str, ...]:
        """Units that are started along with this one, whatever becomes of them."""
        unit = self.load(name)
        found = [other for option in WEAK for other in unit.all(option)]
        found += self._linked(name, ".wants") + self._linked(name, ".upholds")
        found += [other for other, required in self._installed.get(name, {}).items() if not required]
        return tuple(dict.fromkeys(found))

    def mounts(self, name: str) -> list[str]:
        """The mount units that RequiresMountsFor= and the unit's own kind call for."""
        unit = self.load(name)
        paths = unit.all("RequiresMountsFor") + unit.all("WorkingDirectory", "Service")
        found: list[str] = []
        for path in paths:
            parts = [part for part in path.split("/") if part]
            for depth in range(1, len(parts) + 1):
                mount = escape_path("/".join(parts[:depth])) + ".mount"
                if mount != name and self.load(mount).problem != "not-found":
                    found.append(mount)
        return found

    def _linked(self, name: str, suffix: str) -> list[str]:
        return [entry for directory in SEARCH for entry in self._names(f"{directory}/{name}{suffix}")]

    def _after(self, name: str) -> list[str]:
        unit = self.load(name)
        found = unit.all("After") + self.mounts(name)
        if unit.kind != "target" and unit.last("DefaultDependencies", "Unit") != "no":
            if unit.kind in ("service", "socket", "timer", "path"):
                found.append("basic.target" if unit.kind == "service" else "sysinit.target")
        elif unit.kind == "target":
            found += [
                other for other in (*self.strong(name), *self.weak(name)) if name not in self._explicit(other)
            ]
        return found

    def _explicit(self, name: str) -> list[str]:
        return self.load(name).all("After")

    def boot(self) -> tuple[str, ...]:
        """Every unit that a boot into the default target starts, in the order in which it could."""
        if self._order is None:
            self._order = tuple(self._sorted())
        return self._order

    def _sorted(self) -> dict[str, None]:
        names = self._closure()
        after: dict[str, list[str]] = {name: [] for name in names}
        for name in names:
            after[name] += [other for other in self._after(name) if other in after]
            for other in self.load(name).all("Before"):
                if other in after:
                    after[other].append(name)
        ordered: dict[str, None] = {}
        for name in names:
            self._visit(name, after, ordered, {})
        return ordered

    def _closure(self) -> list[str]:
        found: dict[str, None] = {}
        queue = [DEFAULT_TARGET]
        while queue:
            name = queue.pop(0)
            if name in found:
                continue
            found[name] = None
            if not self.load(name).problem:
                queue += (*self.strong(name), *self.weak(name))
        return list(found)

    def _visit(
        self, name: str, after: dict[str, list[str]], ordered: dict[str, None], path: dict[str, None]
    ) -> None:
        if name in ordered or name in path:  # a cycle: systemd breaks it by dropping a job's ordering
            return
        path[name] = None
        for other in after[name]:
            self._visit(other, after, ordered, path)
        del path[name]
        ordered[name] = None


@dataclass(frozen=True, slots=True)
class Vendor:
    """What the read-only /usr holds: it names all of a machine's units that are not its own."""

    image: str
    arch: str
    kubernetes: str | None = None
    extensions: tuple[SimulatedContents, ...] = ()

    def tree(self) -> Tree:
        """The image's root with the extensions merged; shared, not to be written to."""
        return with_extensions(flatcar_root(self.image, self.arch, self.kubernetes), self.extensions)


@lru_cache(maxsize=64)
def _vendor_units(vendor: Vendor) -> Entries:
    return _snapshot(vendor.tree(), (*_USR_UNITS, PRESETS[-1]))


@lru_cache(maxsize=256)
def _unit_set(vendor: Vendor, own: Entries) -> UnitSet:
    return UnitSet((*_vendor_units(vendor), *own))


def _snapshot(tree: Tree, folders: tuple[str, ...]) -> Entries:
    """Everything in the folders; links, but for masks, as the files that they lead to."""
    found: list[tuple[str, Node]] = []
    for folder in folders:
        for path, node in tree.walk(folder):
            if node.kind is NodeKind.LINK and node.target != "/dev/null":
                there = tree.get(path)
                node = Node(NodeKind.FILE, content=there.content) if there is not None else node
            found.append((path, node))
    return tuple(found)


def _with_folders(entries: Entries) -> dict[str, Node]:
    nodes = dict(entries)
    for path, _ in entries:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            nodes.setdefault("/" + "/".join(parts[:depth]), Node(NodeKind.DIRECTORY, 0o755))
    return nodes


class Manager:
    """systemd on one machine: its units, and the conditions that depend on the rest of its tree."""

    def __init__(self, tree: Tree, vendor: Vendor) -> None:
        self._tree = tree
        self.units = _unit_set(vendor, _snapshot(tree, (*_OWN_UNITS, *PRESETS[:-1])))
        self.load = self.units.load
        self.strong = self.units.strong
        self.weak = self.units.weak
        self.boot = self.units.boot
        self.is_enabled = self.units.is_enabled

    # ---- conditions

    def unmet(self, name: str, prefix: str = "Condition") -> str:
        """The first condition (or assertion) that does not hold; empty when all do."""
        triggers: list[tuple[str, bool]] = []
        for option, holds in self._conditions(name, prefix):
            if option.endswith("|"):
                triggers.append((option, holds))
            elif not holds:
                return option
        if triggers and not any(holds for _, holds in triggers):
            return triggers[0][0].rstrip("|")
        return ""

    def _conditions(self, name: str, prefix: str) -> Iterator[tuple[str, bool]]:
        for (section, option), values in self.load(name).options.items():
            if section != "Unit" or not option.startswith(prefix):
                continue
            for value in values:
                trigger, rest = value.startswith("|"), value.removeprefix("|")
                negated, argument = rest.startswith("!"), rest.removeprefix("!").strip()
                holds = self._holds(option.removeprefix(prefix), expand(argument, name)) is not negated
                yield f"{option}={value}" + ("|" if trigger else ""), holds

    def _holds(self, check: str, argument: str) -> bool:
        node = self._tree.get(argument) if argument.startswith("/") else None
        match check:
            case "PathExists":
                return node is not None
            case "PathIsDirectory":
                return node is not None and node.kind is NodeKind.DIRECTORY
            case "PathIsSymbolicLink":
                return self._is_link(argument)
            case "FileNotEmpty":
                return node is not None and node.kind is NodeKind.FILE and bool(node.content)
            case "FileIsExecutable":
                return node is not None and node.kind is NodeKind.FILE and bool(node.mode & 0o111)
            case "DirectoryNotEmpty":
                return node is not None and bool(self._tree.listdir(self._tree.resolve(argument)))
            case _:
                return True

    def _is_link(self, path: str) -> bool:
        try:
            parent = self._tree.resolve(posixpath.dirname(path))
        except RootError:
            return False
        node = self._tree.lstat(posixpath.join(parent, posixpath.basename(path)))
        return node is not None and node.kind is NodeKind.LINK
