"""The source map: from a path in the generated Ignition config to the YAML path it came from."""

from __future__ import annotations

from flatyard.base.patterns import pattern
from flatyard.base.values import replace
from flatyard.ignition import schema
from flatyard.ignition.report import Entry, Path
from flatyard.ignition.schema import Kind
from flatyard.ignition.types import Config

_CAMEL = pattern(r"MiB|[A-Z]")


class Origins:
    """Exceptions to the rule that a path translates word by word.

    `moved`: a subtree that came from another subtree. `made`: a subtree that one YAML value brought about.
    """

    __slots__ = ("made", "moved")

    def __init__(self) -> None:
        self.moved: dict[Path, Path] = {}
        self.made: dict[Path, Path] = {}

    def translate(self, entries: tuple[Entry, ...], config: Config) -> tuple[Entry, ...]:
        """Entries about the generated config as entries about the YAML. What the config does not have is
        named word by word, as the reference does."""
        return tuple(replace(e, path=self.path(e.path, config)) for e in entries)

    def path(self, path: Path, config: Config) -> Path:
        """One path."""
        if not _is_given(config, path):
            return snake(path)
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            if prefix in self.made:
                return self.made[prefix]
            if prefix in self.moved:
                return self.moved[prefix] + snake(path[length:])
        return snake(path)


def snake(path: Path) -> Path:
    """`("storage", "wipeTable")` → `("storage", "wipe_table")`."""
    return tuple(
        _CAMEL.sub(lambda m: "_" + m[0], step).lower() if isinstance(step, str) else step for step in path
    )


def _is_given(config: Config, path: Path) -> bool:
    value: object = config
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, tuple) or step >= len(value):
                return False
            value = value[step]
            continue
        found = _field(value, step)
        if found is None:
            return False
        value = getattr(value, found.attr)
        if value is None or (found.kind is not Kind.STRUCT and not found.nullable and not value):
            return False
        if found.kind is Kind.STRUCT and value == type(value)():
            return False
    return True


def _field(value: object, key: str) -> schema.Field | None:
    if isinstance(value, str | int | tuple):
        return None
    cls: type = value.__class__
    return next((f for f in schema.fields(cls) if f.key == key), None)
