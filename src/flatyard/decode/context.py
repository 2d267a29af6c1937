"""What one decoding carries along: the file, the dialect, the problems so far, and places for checks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from flatyard.base.errors import Position, Problem, Severity
from flatyard.decode.dialects import Dialect
from flatyard.decode.node import STR, Node

Keys = tuple[str | int, ...]
MAX_PROBLEMS = 1000
_SHOWN = 40


def dotted(keys: Keys) -> str:
    """A field's path as users write it: ``spec.workers[0].labels["a.b/c"]``."""
    out = ""
    for key in keys:
        if isinstance(key, int):
            out += f"[{key}]"
        elif key.replace("-", "_").isidentifier():
            out += f".{key}" if out else key
        else:
            out += f'["{key}"]'
    return out


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    folded = {name.lower(): name for name in known}
    same = folded.get(word.lower().replace("_", "").replace("-", ""))
    if same:
        return same
    close = difflib.get_close_matches(word.lower()[:80], folded, 1, 0.6)
    return folded[close[0]] if close else ""


def shown(node: Node) -> str:
    """A node in a few words, for a sentence."""
    if node.kind != "scalar":
        return f"a {'mapping' if node.kind == 'map' else 'list'}"
    raw = node.raw if len(node.raw) <= _SHOWN else node.raw[:_SHOWN] + "…"
    bare = raw.isprintable() and raw and (node.plain or node.tag not in ("", STR))
    return raw if bare else repr(raw)


@dataclass(slots=True)
class Context:
    """Mutable during one decoding only. ``file`` None: the value came from no text."""

    file: str | None
    dialect: Dialect
    problems: list[Problem] = field(default_factory=list)

    def add(
        self,
        node: Node,
        keys: Keys,
        what: str,
        allowed: str = "",
        suggestion: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Report a problem at this node."""
        if not self.full:
            position = Position(self.file, node.line, node.column) if self.file is not None else None
            self.problems.append(Problem(severity, position, dotted(keys), what, allowed, suggestion))

    @property
    def full(self) -> bool:
        """Whether further problems are left out, so that nobody need work them out."""
        return len(self.problems) >= MAX_PROBLEMS

    def wants(self, node: Node, keys: Keys, what: str, suggestion: str = "") -> None:
        """Report that ``what`` was expected here."""
        self.add(node, keys, f"{shown(node)} is not allowed here", what, suggestion)


@dataclass(frozen=True, slots=True)
class At:
    """A place in a decoded document, for checks: ``at("spec", "replicas").error("…")``."""

    file: str | None
    root: Node | None
    keys: Keys = ()

    def __call__(self, *keys: str | int) -> At:
        """The place below."""
        return At(self.file, self.root, (*self.keys, *keys))

    @property
    def path(self) -> str:
        """The field's path."""
        return dotted(self.keys)

    @property
    def node(self) -> Node | None:
        """What was written here, if anything."""
        return self.root.at(*self.keys) if self.root else None

    @property
    def position(self) -> Position | None:
        """Where this was written, or the nearest place around it."""
        if self.root is None or self.file is None:
            return None
        keys = self.keys
        while (node := self.root.at(*keys)) is None:
            keys = keys[:-1]
        return Position(self.file, node.line, node.column)

    def error(self, what: str, allowed: str = "", suggestion: str = "") -> Problem:
        """An error here."""
        return Problem(Severity.ERROR, self.position, self.path, what, allowed, suggestion)

    def warning(self, what: str, allowed: str = "", suggestion: str = "") -> Problem:
        """A warning here."""
        return Problem(Severity.WARNING, self.position, self.path, what, allowed, suggestion)
