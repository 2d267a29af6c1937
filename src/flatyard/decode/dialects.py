"""What a scalar means, as three tables.

Butane reads as Go's yaml.v3, Kubernetes as sigs.k8s.io/yaml, Ignition as Go's encoding/json.

Every reader takes a scalar Node and returns the value, or raises Mismatch.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator

from flatyard.base.patterns import pattern
from flatyard.base.typed import TYPE_CHECKING
from flatyard.base.values import dataclass
from flatyard.decode.node import BINARY, BOOL, FLOAT, INT, NULL, NUMBER, Node

if TYPE_CHECKING:
    from typing import Literal

    from flatyard.decode.types import JSON

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = {word: True for word in ("true", "True", "TRUE")}
_FALSE = {word: False for word in ("false", "False", "FALSE")}
_CORE_BOOLS = _TRUE | _FALSE
_OLD_BOOLS = {word: True for base in ("y", "yes", "on") for word in (base, base.title(), base.upper())} | {
    word: False for base in ("n", "no", "off") for word in (base, base.title(), base.upper())
}
_ALL_BOOLS = _CORE_BOOLS | _OLD_BOOLS
_FLOAT = pattern(r"(?a)[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,6})?")
_INT = pattern(r"(?a)([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_BASES = (16, 2, 8, 10)
_DIGITS = 80


class Mismatch(ValueError):
    """A scalar that is not what its field wants."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of document reads scalars, keys and duplicates.

    ``plain`` gives the untyped meaning of a scalar; ``text``, ``truth``, ``whole`` and ``real`` read it for a field
    of that type. ``fold_keys``: keys match without regard to case. ``drop_nulls``: null items vanish from lists.
    """

    name: str
    plain: Callable[[Node], JSON]
    text: Callable[[Node], str]
    truth: Callable[[Node], bool]
    whole: Callable[[Node], int]
    real: Callable[[Node], float]
    duplicates: Literal["error", "last"] = "error"
    fold_keys: bool = False
    drop_nulls: bool = False
    merge: bool = True


def is_null(node: Node) -> bool:
    """Whether this is null, in any dialect."""
    if node.kind != "scalar":
        return False
    return node.tag == NULL or (node.plain and node.raw in _NULLS)


def integer(text: str) -> int | None:
    """An integer as Go reads it in YAML: decimal, 0x, 0b, 0o or leading-zero octal, ``_`` between digits."""
    if len(text) > _DIGITS or text[:1] == "_":
        return None
    if text.isascii() and text.isdigit():
        return _digits(text)
    match = _INT.fullmatch(text.replace("_", ""))
    if not match:
        return None
    sign, *digits = match.groups()
    value = next(int(found, base) for found, base in zip(digits, _BASES, strict=True) if found)
    return -value if sign == "-" else value


def _digits(text: str) -> int | None:
    """Octal behind a zero, without the expression for every other form."""
    if text[0] != "0" or text == "0":
        return int(text)
    return None if text.strip("01234567") else int(text, 8)


def number(text: str) -> int | float | None:
    """The number that an untagged YAML scalar is, or None."""
    value = integer(text)
    if value is not None and -(2**63) <= value < 2**64:
        return value
    bare = text.replace("_", "")
    if len(text) > _DIGITS or text[:1] == "_" or not _FLOAT.fullmatch(bare):
        return None
    real = float(bare)
    return None if real in (float("inf"), float("-inf")) else real


def _json_number(text: str) -> int | float:
    if len(text) > _DIGITS:
        raise Mismatch("a number with too many digits")
    if text.lstrip("-").isdigit():
        return int(text)
    real = float(text)
    if real - real != 0:
        raise Mismatch("a number that is too large")
    return real


def _binary(node: Node) -> str:
    try:
        return binascii.a2b_base64(node.raw).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Mismatch("!!binary that is not base64 of UTF-8 text") from error


def _untyped(bools: dict[str, bool]) -> Callable[[Node], JSON]:
    def read(node: Node) -> JSON:
        raw, tag = node.raw, node.tag
        if tag == NUMBER:
            return _json_number(raw)
        if node.plain or tag in (INT, FLOAT, BOOL, NULL):
            if raw in _NULLS:
                return None
            truth = bools.get(raw)
            if truth is not None:
                return truth
            found = number(raw)
            return raw if found is None else found
        return _binary(node) if tag == BINARY else raw

    return read


_kubernetes = _untyped(_CORE_BOOLS | _OLD_BOOLS)
_core = _untyped(_CORE_BOOLS)


def _strict_text(node: Node) -> str:
    value = _kubernetes(node)
    if not isinstance(value, str):
        raise Mismatch("a text")
    return value


def _strict_truth(node: Node) -> bool:
    value = _kubernetes(node)
    if not isinstance(value, bool):
        raise Mismatch("true or false")
    return value


def _strict_whole(node: Node) -> int:
    value = _kubernetes(node)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise Mismatch("a whole number")
    return value


def _strict_real(node: Node) -> float:
    value = _kubernetes(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Mismatch("a number")
    return float(value)


def _butane_text(node: Node) -> str:
    return _binary(node) if node.tag == BINARY else node.raw


def _butane_truth(node: Node) -> bool:
    table = _ALL_BOOLS if node.plain else _CORE_BOOLS
    if not (node.plain or node.tag == BOOL) or node.raw not in table:
        raise Mismatch("true or false")
    return table[node.raw]


def _butane_number(node: Node) -> int | float:
    value = number(node.raw) if node.plain or node.tag in (INT, FLOAT, NUMBER) else None
    if value is None:
        raise Mismatch("a number")
    return value


def _butane_whole(node: Node) -> int:
    value = int(_butane_number(node))
    if not -(2**63) <= value < 2**63:
        raise Mismatch("a whole number")
    return value


KUBERNETES = Dialect("kubernetes", _kubernetes, _strict_text, _strict_truth, _strict_whole, _strict_real)
BUTANE = Dialect(
    "butane",
    _core,
    _butane_text,
    _butane_truth,
    _butane_whole,
    lambda n: float(_butane_number(n)),
    drop_nulls=True,
)
IGNITION = Dialect(
    "ignition",
    _core,
    _strict_text,
    _strict_truth,
    _strict_whole,
    _strict_real,
    duplicates="last",
    fold_keys=True,
    merge=False,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a map after merge keys are written out. ``first`` is the earlier entry that it repeats."""

    key: str
    name: Node
    value: Node
    first: Node | None = None


def key_text(node: Node, dialect: Dialect) -> str | None:
    """A key as text (numbers and truths are spelt out, as sigs.k8s.io/yaml does); None for a list or map."""
    if node.kind != "scalar":
        return None
    if dialect is not KUBERNETES or not node.plain:
        return node.raw
    value = dialect.plain(node)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def entries(node: Node, dialect: Dialect) -> Iterator[Entry]:
    """The entries of a map in order; merged ones follow where an explicit key does not win over them."""
    seen: dict[str, Node] = {}
    merges: list[Node] = []
    for name, value in node.entries:
        if dialect.merge and name.plain and name.raw == "<<":
            merges.append(value)
            continue
        key = key_text(name, dialect)
        if key is None:
            raise Mismatch("a key that is a list or a mapping")
        yield Entry(key, name, value, seen.get(key))
        seen.setdefault(key, name)
    for merged in merges:
        for source in merged.items if merged.kind == "list" else (merged,):
            if source.kind != "map":
                raise Mismatch("<< that is not a mapping or a list of mappings")
            for entry in entries(source, dialect):
                if entry.key not in seen:
                    seen[entry.key] = entry.name
                    yield Entry(entry.key, entry.name, entry.value)
