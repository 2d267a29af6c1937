"""The serial consoles of the simulated instances: the last lines of each, kept on the account's disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flatyard.sim.disk import Disk

KEPT = 400
"""Lines that a console keeps."""
_PREFIX = "cloud/console/"


class Consoles:
    """Text per instance, line by line."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lines: dict[str, dict[int, str]] = {}
        for key, value in disk.items(_PREFIX):
            instance_id, _, number = key[len(_PREFIX) :].rpartition("#")
            self._lines.setdefault(instance_id, {})[int(number)] = value.decode()

    def write(self, instance_id: str, line: str) -> None:
        """Append one line."""
        lines = self._lines.setdefault(instance_id, {})
        number = next(reversed(lines)) + 1 if lines else 0
        lines[number] = line
        self._disk.put(f"{_PREFIX}{instance_id}#{number:08d}", line.encode())
        if len(lines) > KEPT:
            oldest = next(iter(lines))
            del lines[oldest]
            self._disk.delete(f"{_PREFIX}{instance_id}#{oldest:08d}")

    def writer(self, instance_id: str) -> Callable[[str], None]:
        """What the machine writes its console with."""
        return partial(self.write, instance_id)

    def read(self, instance_id: str) -> tuple[str, ...]:
        """Every kept line, oldest first."""
        return tuple(self._lines.get(instance_id, {}).values())

    def forget(self, instance_id: str) -> None:
        for number in self._lines.pop(instance_id, {}):
            self._disk.delete(f"{_PREFIX}{instance_id}#{number:08d}")
