"""Block-style YAML for the few documents that are written for kubeadm, kubelet and the API server.

A writer of forty lines, because files on nodes are read by people, and PyYAML's writer takes longer than all
the rest of rendering.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

Yaml = str | int | bool | Mapping[str, "Yaml"] | Sequence["Yaml"]
"""What can be written. Texts are strings and never become numbers or booleans."""

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@:-]*[A-Za-z0-9_./@-]|[A-Za-z/]")
_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
"""JSON writes a character beyond U+FFFF as two escapes, which YAML takes for two characters."""
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}


def document(value: Mapping[str, Yaml]) -> str:
    """One YAML document, without separators."""
    return "".join(f"{line}\n" for line in _lines(value))


def documents(values: Sequence[Mapping[str, Yaml]]) -> str:
    """Several documents in one file."""
    return "---\n".join(document(value) for value in values)


def _lines(value: Yaml) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, item in value.items() for line in _entry(key, item)]
    if isinstance(value, str | int):
        return [_scalar(value)]
    return [line for item in value for line in _item(item)]


def _entry(key: str, value: Yaml) -> list[str]:
    if _is_short(value):
        return [f"{_scalar(key)}: {_flow(value)}"]
    indent = "  " if isinstance(value, Mapping) else ""
    return [f"{_scalar(key)}:", *(indent + line for line in _lines(value))]


def _item(value: Yaml) -> list[str]:
    first, *rest = [_flow(value)] if _is_short(value) else _lines(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _is_short(value: Yaml) -> bool:
    return isinstance(value, str | int) or not value


def _flow(value: Yaml) -> str:
    if isinstance(value, str | int):
        return _scalar(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def _scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _PAIR.sub(_long_escape, json.dumps(value))


def _long_escape(pair: re.Match[str]) -> str:
    return f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08x}"
