"""Keys that nothing reads, and places where the written and the decoded shape differ.

The decoded config is walked beside the written nodes, by the decoded indexes, as the reference does: null
items that vanished shift what is compared with what.
"""

from __future__ import annotations

from flatyard.base.typed import cast
from flatyard.butane import source
from flatyard.butane.versions import Version, keys
from flatyard.decode.node import Node
from flatyard.ignition.report import Entry, Path, dotted, warning
from flatyard.ignition.schema import Kind


def unused_keys(config: source.Config, root: Node, version: Version) -> tuple[Entry, ...]:
    """A warning for each unknown key and each mapping that is an alias or null, without places."""
    found: list[Entry] = []
    _walk(config, root, (), version.level, found)
    return tuple(found)


def _walk(value: object, node: Node, path: Path, level: int, found: list[Entry]) -> None:
    if node.kind != "map" or (node.alias and path):
        text = (
            f"context tree does not match content tree at {dotted(path)}. Line and column reporting may be "
            "inconsistent. Unused keys may not be reported"
        )
        found.append(warning(text, path))
        return
    cls: type = value.__class__
    known = keys(cls, level)
    written = {name.raw: child for name, child in node.entries}
    found += [warning(f"unused key {key}", (*path, key)) for key in written if key not in known]
    for key, child in written.items():
        field = known.get(key)
        if field is None or field.struct is None:
            continue
        if field.kind is Kind.STRUCT:
            _walk(getattr(value, key), child, (*path, key), level, found)
        elif not child.alias:
            items = cast("tuple[object, ...]", getattr(value, key))
            for index, (item, there) in enumerate(zip(items, child.items, strict=False)):
                _walk(item, there, (*path, key, index), level, found)
