"""What code needs of `typing` while it runs, for modules on the way of the short commands.

Importing `typing` takes a tenth of what `flatyard butane` may take. Everything that only annotations name stands
below `TYPE_CHECKING`, as ever.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, cast
else:

    class Protocol:
        """Nothing while the program runs: what fits is the type checker's matter."""

        __slots__ = ()

    def cast(_: object, value: object) -> object:
        """The value."""
        return value


__all__ = ["TYPE_CHECKING", "Protocol", "cast"]
