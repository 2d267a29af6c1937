"""The serial consoles of the simulated instances: the last lines of each, kept on the account's disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flatyard.sim.disk import Disk

CHUNK = 50
"""Lines under one key of the disk: a key for each line would make the disk a thousand times as long as needed."""
CHUNKS = 8
"""Chunks that a console keeps."""
_PREFIX = "cloud/console/"


class Consoles:
    """Text per instance, line by line."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._chunks: dict[str, dict[int, list[str]]] = {}
        for key, value in disk.items(_PREFIX):
            instance_id, _, number = key[len(_PREFIX) :].rpartition("#")
            self._chunks.setdefault(instance_id, {})[int(number)] = value.decode().split("\n")

    def write(self, instance_id: str, text: str) -> None:
        """Append a line, or several in one text."""
        chunks = self._chunks.setdefault(instance_id, {})
        number = next(reversed(chunks), 0)
        lines = chunks.setdefault(number, [])
        if len(lines) >= CHUNK:
            number, lines = number + 1, []
            chunks[number] = lines
        lines.extend(text.split("\n"))
        self._disk.put(_key(instance_id, number), "\n".join(lines).encode())
        if len(chunks) > CHUNKS:
            oldest = next(iter(chunks))
            del chunks[oldest]
            self._disk.delete(_key(instance_id, oldest))

    def writer(self, instance_id: str) -> Callable[[str], None]:
        """What the machine writes its console with."""
        return partial(self.write, instance_id)

    def read(self, instance_id: str) -> tuple[str, ...]:
        """Every kept line, oldest first."""
        return tuple(line for lines in self._chunks.get(instance_id, {}).values() for line in lines)

    def forget(self, instance_id: str) -> None:
        for number in self._chunks.pop(instance_id, {}):
            self._disk.delete(_key(instance_id, number))


def _key(instance_id: str, number: int) -> str:
    return f"{_PREFIX}{instance_id}#{number:08d}"
