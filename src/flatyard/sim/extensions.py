"""What `systemd-sysext refresh` does to a simulated machine's tree.

Follows systemd-sysext(8): the three folders, a link to /dev/null masks, an image's name must be the one in its
extension-release, its architecture the machine's. A link that leads nowhere is passed over in silence, as
systemd does; the kubelet is then simply not there.
"""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.ignition.tree import NodeKind, Tree, make_parents
from flatyard.sim.base_tree import SYSTEM_UNITS, command, kubelet_units
from flatyard.sysext.layout import extension_arch
from flatyard.sysext.simulated import SimulatedContents, read_simulated

FOLDERS = ("/etc/extensions", "/run/extensions", "/var/lib/extensions")
_FILESYSTEMS = (b"hsqs", b"\xe2\xe1\xf5\xe0")
"""How squashfs images begin; an EROFS image has its magic at 1024 instead."""
_EROFS_AT = 1024


@dataclass(frozen=True, slots=True)
class Merged:
    """The tree with its extensions, what systemd-sysext said, and whether it failed."""

    tree: Tree
    log: tuple[str, ...]
    failed: bool = False
    contents: tuple[SimulatedContents, ...] = ()


def merge_extensions(tree: Tree, arch: str) -> Merged:
    """The tree as services see it after systemd-sysext.service; the given one stays as it is."""
    log: list[str] = []
    found: dict[str, bytes] = {}
    for folder in FOLDERS:
        for name, content in _images(tree, folder):
            found.setdefault(name, content)
    contents: list[SimulatedContents] = []
    for name, content in found.items():
        image = read_simulated(content)
        if image is None and not _is_real(content):
            return Merged(tree, (f"Failed to read metadata for image {name}: No medium found",), failed=True)
        if image is not None and image.name != name:
            return Merged(tree, (f"Failed to read metadata for image {name}: No medium found",), failed=True)
        if image is not None and image.arch != extension_arch(arch):
            log.append(
                f"Extension '{name}' is for architecture {image.arch}, not {extension_arch(arch)}; ignoring."
            )
        elif image is not None:
            contents.append(image)
    if not contents:
        return Merged(tree, (*log, "No extensions found."))
    log.append(f"Using extensions {', '.join(repr(image.name) for image in contents)}.")
    log.append("Merged extensions into '/usr'.")
    return Merged(with_extensions(tree, tuple(contents)), tuple(log), contents=tuple(contents))


def _images(tree: Tree, folder: str) -> list[tuple[str, bytes]]:
    node = tree.get(folder)
    if node is None or node.kind is not NodeKind.DIRECTORY:
        return []
    found = []
    for entry in tree.listdir(tree.resolve(folder)):
        target = tree.get(f"{folder}/{entry}")
        if entry.endswith(".raw") and target is not None and target.kind is NodeKind.FILE:
            found.append((entry.removesuffix(".raw"), target.content))
    return found


def _is_real(content: bytes) -> bool:
    return content.startswith(_FILESYSTEMS[0]) or content[_EROFS_AT : _EROFS_AT + 4] == _FILESYSTEMS[1]


def with_extensions(tree: Tree, contents: tuple[SimulatedContents, ...]) -> Tree:
    """An overlay of the tree with what the extensions bring."""
    merged = tree.overlay()
    for image in contents:
        for name in image.commands:
            _put(merged, f"/usr/bin/{name}", command(name, image.version), 0o755)
        for path, text in kubelet_units("/usr/bin").items():
            _put(merged, f"{SYSTEM_UNITS}/{path}", text.encode(), 0o644)
    return merged


def _put(tree: Tree, path: str, content: bytes, mode: int) -> None:
    make_parents(tree, path)
    tree.write(path, content, mode)
