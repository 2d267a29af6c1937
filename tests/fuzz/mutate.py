"""Changes to a whole value or line, beside libFuzzer's to bytes: most of those end in the parser.

A JSON document has one of its values replaced, removed, doubled or given a field; any other text one of its lines.
The same seed makes the same change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from flatyard.base.world import SeededWorld

VALUES: Sequence[object] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        420,
        644,
        0o7777,
        1 << 40,
        "",
        "a",
        "/",
        "/a",
        "/etc/a/b",
        "/a/../b",
        "a/b",
        "ä\u2028",
    ),
    *(
        "/dev/a",
        "data:,a",
        "data:;base64,YQ==",
        "https://a/b",
        "s3://a/b?versionId=",
        "gzip",
        "sha256-" + "0" * 64,
    ),
    *(
        "3.0.0",
        "3.1.0",
        "3.3.0",
        "3.4.0",
        "3.5.0",
        "3.6.0",
        "1.0.0",
        "1.1.0",
        "1.2.0-experimental",
        "3.7.0-experimental",
    ),
    *(
        "[Unit]\nA=b\n",
        "[Install]\nWantedBy=a\n",
        "a@b.service",
        "a@.service",
        "a.mount",
        "a.conf",
        "a@1.container",
    ),
    *(
        "f",
        "t",
        "keys",
        "x.service",
        "../x",
        "pipe",
        "ext4",
        "swap",
        "raid1",
        "core",
        "root",
        "wheel",
        "tpm2",
    ),
    *([], {}, [None], ["a"], [{}], {"name": "a"}, {"id": 1}, {"path": "/a"}, {"inline": "x"}, {"local": "f"}),
)
LINES = ("- ", "  ", "a: b", "- a", "&a", "*a", "<<: *a", "|", "~", "!!binary YQ==", "---", "#")


class Mutator:
    """One change; `keys` are the names of fields."""

    def __init__(self, seed: int, keys: Sequence[str]) -> None:
        self.chance = SeededWorld(seed, lambda: 0.0).random()
        self.keys = keys

    def change(self, data: bytes, longest: int) -> bytes:
        """The changed text, of at most so many bytes."""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict | list):
            return json.dumps(self.json(value), ensure_ascii=False).encode("utf-8", "replace")[:longest]
        return b"\n".join(self.lines(data.split(b"\n")))[:longest]

    def json(self, value: dict[str, object] | list[object]) -> object:
        places: list[tuple[object, object]] = []
        _walk(value, places)
        if not places or self.chance.random() < 0.2:
            return self.grown(value, places)
        holder, key = self.chance.choice(places)
        assert isinstance(holder, dict | list)
        match self.chance.randrange(4):
            case 0:
                del holder[key]  # type: ignore[arg-type]
            case 1:
                holder[key] = self.chance.choice(VALUES)  # type: ignore[index, call-overload]
            case 2:
                other, place = self.chance.choice(places)
                copied = json.dumps(other[place])  # type: ignore[index]
                holder[key] = json.loads(copied)  # type: ignore[index, call-overload]
            case _:
                if isinstance(holder, list):
                    holder.append(holder[key])  # type: ignore[call-overload]
        return value

    def grown(self, value: dict[str, object] | list[object], places: list[tuple[object, object]]) -> object:
        """With one more field or item somewhere."""
        holders = [value, *(holder[key] for holder, key in places)]  # type: ignore[index]
        holder = self.chance.choice([h for h in holders if isinstance(h, dict | list)])
        if isinstance(holder, dict):
            holder[self.chance.choice(self.keys)] = self.chance.choice(VALUES)
        else:
            holder.append(self.chance.choice(VALUES))
        return value

    def lines(self, lines: list[bytes]) -> list[bytes]:
        at, other = self.chance.randrange(len(lines)), self.chance.randrange(len(lines))
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip(b" -"))]
        match self.chance.randrange(7):
            case 0:
                del lines[at]
            case 1:
                lines.insert(other, line)
            case 2:
                lines[at] = b" " * self.chance.randrange(9) + line.lstrip(b" ")
            case 3:
                lines[at] = line.partition(b":")[0] + b": " + lines[other].partition(b": ")[2]
            case 4:
                lines[at] = line.partition(b":")[0] + b": " + self.word()
            case 5:
                lines.insert(
                    at,
                    indent.replace(b"-", b" ") + self.chance.choice(self.keys).encode() + b": " + self.word(),
                )
            case _:
                lines.insert(at, indent + self.chance.choice(LINES).encode())
        return lines

    def word(self) -> bytes:
        return json.dumps(self.chance.choice(VALUES), ensure_ascii=False).encode()


def _walk(value: object, places: list[tuple[object, object]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        places.append((value, key))
        _walk(below, places)
