"""Where in the YAML text a finding belongs."""

from __future__ import annotations

from flatyard.base.values import replace
from flatyard.decode.node import Node
from flatyard.ignition.report import Entry


def placed(entries: tuple[Entry, ...], root: Node) -> tuple[Entry, ...]:
    """The entries with line and column: of the deepest value that exists on the path, or of an unused key."""
    if not entries:
        return ()
    index = _Index()
    return tuple(_place(entry, root, index) for entry in entries)


class _Index:
    """Mappings by key. With a finding about each of many keys, looking through the mapping for each would take for
    ever."""

    def __init__(self) -> None:
        self.maps: dict[Node, dict[str, tuple[Node, Node]]] = {}

    def of(self, node: Node) -> dict[str, tuple[Node, Node]]:
        """Each key and its value by the key's text; the last of several."""
        found = self.maps.get(node)
        if found is None:
            found = self.maps[node] = {pair[0].raw: pair for pair in node.entries}
        return found

    def child(self, node: Node, step: str | int) -> Node | None:
        """What stands below one step of a path."""
        if isinstance(step, int):
            return node.item(step)
        pair = self.of(node).get(step)
        return pair[1] if pair else None


def _place(entry: Entry, root: Node, index: _Index) -> Entry:
    is_key = entry.message.startswith("unused key ")
    node = root
    for step in entry.path[:-1] if is_key else entry.path:
        child = None if node.alias and node is not root else index.child(node, step)
        if child is None:
            return replace(entry, line=node.line, column=node.column)
        node = child
    if is_key:
        node = index.of(node).get(str(entry.path[-1]), (node,))[0]
        if node.kind != "scalar":
            node = root
    return replace(entry, line=node.line, column=node.column)
