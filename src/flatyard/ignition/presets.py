"""Which units a config enables and disables, as lines of a systemd preset; and `systemctl disable`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from flatyard.ignition.tree import NodeKind, Root, RootError, follow
from flatyard.ignition.types import Unit
from flatyard.ignition.unitfile import Option, UnitError, parse_unit

PRESET_FILE = "/etc/systemd/system-preset/20-ignition.preset"
UNIT_DIRECTORY = "/etc/systemd/system"
_SEARCH = (UNIT_DIRECTORY, "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_LINK_DIRECTORIES = (".wants", ".requires", ".upholds")
_INSTALLING = ("WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also")


def preset_lines(units: tuple[Unit, ...], root: Root) -> tuple[str, ...]:
    """The lines in file order. Instances are gathered under their template. What is to be disabled is
    disabled at once, and gets a line only if it was enabled (or static, or an alias)."""
    wanted: dict[str, tuple[str, str, list[str]]] = {}
    for unit in units:
        if unit.enabled is not None:
            word = "enable" if unit.enabled else "disable"
            template, instance = split_instance(unit.name)
            entry = wanted.setdefault(f"{template}-{word}d", (word, template, []))
            if instance is not None:
                entry[2].append(instance)
    lines = []
    links = _Links(root)
    for key in sorted(wanted, key=str.encode):
        word, name, instances = wanted[key]
        if word == "disable" and (instances or not _disable(root, name, links)):
            continue
        lines.append(f"{word} {name} {' '.join(instances)}" if instances else f"{word} {name}")
    return tuple(lines)


def split_instance(name: str) -> tuple[str, str | None]:
    """`e@a.service` → (`e@.service`, `a`); a plain unit has no instance."""
    prefix, at, rest = name.partition("@")
    if not at:
        return name, None
    instance, _, suffix = rest.rpartition(".")
    return f"{prefix}@.{suffix}", instance


def is_enabled(root: Root, name: str, links: _Links | None = None) -> bool:
    """Whether `systemctl is-enabled` succeeds: enabled, an alias, static or indirect."""
    path = find_unit(root, name)
    if path is None or _is_masked(root, path):
        return False
    node = root.lstat(path)
    if node is not None and node.kind is NodeKind.LINK:
        return True
    options = [o.name for o in _options(root, path) if o.section == "Install"]
    if not any(option in _INSTALLING for option in options):
        return True
    return options == ["Also"] or bool((links or _Links(root)).to(name))


def find_unit(root: Root, name: str) -> str | None:
    """The canonical path of the unit file that systemd would take; a path is no unit name to it."""
    if "/" in name:
        return None
    for directory in _SEARCH:
        try:
            path = posixpath.join(follow(root, directory, last=True), name)
        except RootError:
            continue
        if root.lstat(path) is not None:
            return path
    return None


def _disable(root: Root, name: str, links: _Links) -> bool:
    if "@" in name or not is_enabled(root, name, links):
        return False
    for link in links.to(name):
        root.remove(link)
    path = find_unit(root, name)
    also = (
        [o.value for o in _options(root, path) if (o.section, o.name) == ("Install", "Also")] if path else []
    )
    for other in " ".join(also).split():
        for link in links.to(other):
            root.remove(link)
    return True


def _is_masked(root: Root, path: str) -> bool:
    node = root.lstat(path)
    return node is not None and node.kind is NodeKind.LINK and node.target == "/dev/null"


def _options(root: Root, path: str) -> tuple[Option, ...]:
    try:
        return parse_unit(root.read(follow(root, path, last=True)).decode("utf-8", "replace"))
    except (UnitError, RootError):
        return ()


class _Links:
    """Links that `systemctl enable` would have made, by the units they enable; looked for once, for any number."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._found: dict[str, list[str]] | None = None

    def to(self, name: str) -> list[str]:
        """Those of one unit that are still there."""
        if self._found is None:
            self._found = {}
            for unit, path in _links(self._root):
                self._found.setdefault(unit, []).append(path)
        return [path for path in self._found.get(name, ()) if self._root.lstat(path) is not None]


def _links(root: Root) -> Iterator[tuple[str, str]]:
    """Units with the links to them."""
    if root.lstat(UNIT_DIRECTORY) is None:
        return
    for entry in root.listdir(UNIT_DIRECTORY):
        path = posixpath.join(UNIT_DIRECTORY, entry)
        node = root.lstat(path)
        if node is None:
            continue
        unit = posixpath.basename(node.target)
        if node.kind is NodeKind.LINK and entry != unit:
            yield unit, path
        if node.kind is NodeKind.DIRECTORY and entry.endswith(_LINK_DIRECTORIES):
            yield from _links_in(root, path)


def _links_in(root: Root, directory: str) -> Iterator[tuple[str, str]]:
    for entry in root.listdir(directory):
        path = posixpath.join(directory, entry)
        node = root.lstat(path)
        if node is not None and node.kind is NodeKind.LINK:
            for unit in dict.fromkeys((entry, posixpath.basename(node.target))):
                yield unit, path
