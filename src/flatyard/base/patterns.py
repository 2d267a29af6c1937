"""Regular expressions that are compiled when they are first used.

A module of ten patterns costs a short command more than everything that it does with one of them. After its first
use a pattern's methods are the compiled one's own, so that there is nothing between them and their caller.
"""

from __future__ import annotations

from flatyard.base.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re


class _Pattern:
    def __init__(self, source: str | bytes, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> object:
        import re

        found: object = getattr(re.compile(self._source, self._flags), name)
        self.__dict__[name] = found
        return found


if TYPE_CHECKING:
    pattern = re.compile
else:

    def pattern(source: str | bytes, flags: int = 0) -> _Pattern:
        """What `re.compile` gives, as far as methods and attributes go."""
        return _Pattern(source, flags)


__all__ = ["pattern"]
