"""Where in the YAML text a finding belongs."""

from __future__ import annotations

from flatyard.base.values import replace
from flatyard.decode.node import Node
from flatyard.ignition.report import Entry


def placed(entries: tuple[Entry, ...], root: Node) -> tuple[Entry, ...]:
    """The entries with line and column: of the deepest value that exists on the path, or of an unused key."""
    return tuple(_place(entry, root) for entry in entries)


def _place(entry: Entry, root: Node) -> Entry:
    is_key = entry.message.startswith("unused key ")
    node = root
    for step in entry.path[:-1] if is_key else entry.path:
        child = None if node.alias and node is not root else _child(node, step)
        if child is None:
            return replace(entry, line=node.line, column=node.column)
        node = child
    if is_key:
        node = next((name for name, _ in node.entries if name.raw == entry.path[-1]), node)
        if node.kind != "scalar":
            node = root
    return replace(entry, line=node.line, column=node.column)


def _child(node: Node, step: str | int) -> Node | None:
    return node.item(step) if isinstance(step, int) else node.get(step)
