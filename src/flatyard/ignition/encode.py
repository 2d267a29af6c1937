"""Ignition configs as canonical JSON: the bytes that the reference implementation writes.

Key order is that of its structs, absent and empty values are left out, and strings are escaped as Go's
`encoding/json` does with HTML escaping on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring

from flatyard.ignition import schema
from flatyard.ignition.schema import Kind
from flatyard.ignition.types import Config

_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_UNUSUAL = re.compile("[<>&\u2028\u2029]")
_RARE = re.compile("[\b\f\ud800-\udfff]")
_RARE_FORMS = {"\b": "\\u0008", "\f": "\\u000c"}


def encode(config: Config, *, newline: bool = False) -> bytes:
    """The canonical one-line JSON of a config, UTF-8. `newline` adds the trailing one that Butane prints."""
    text = _encode_struct(config) or "{}"
    return (text + "\n" if newline else text).encode()


def encode_entry(entry: object) -> bytes:
    """One file, unit, user … as it stands inside the config."""
    return _encode_item(entry).encode()


def encode_pretty(config: Config) -> bytes:
    """The same document indented by two spaces, with a trailing newline."""
    text = json.dumps(json.loads(encode(config)), indent=2, ensure_ascii=False)
    return (_UNUSUAL.sub(lambda m: _HTML[m[0]], text) + "\n").encode()


def encode_string(text: str) -> str:
    """A JSON string literal with Go's escapes."""
    quoted = _quote_rare(text) if _RARE.search(text) else encode_basestring(text)
    return _UNUSUAL.sub(lambda m: _HTML[m[0]], quoted) if _UNUSUAL.search(quoted) else quoted


def _quote_rare(text: str) -> str:
    return '"' + "".join(map(_encode_character, text)) + '"'


def _encode_character(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "\\ufffd"
    return _RARE_FORMS.get(character) or encode_basestring(character)[1:-1]


_Writer = Callable[..., str]


_Table = tuple[tuple[str, str, _Writer, bool], ...]
_tables: dict[type, _Table] = {}


def _table(cls: type) -> _Table:
    table = tuple((f.attr, f'"{f.key}":', _WRITERS[f.kind], f.nullable) for f in schema.fields(cls))
    return _tables.setdefault(cls, table)


def _encode_struct(value: object) -> str:
    parts = []
    cls = value.__class__
    for attr, prefix, write, nullable in _tables.get(cls) or _table(cls):
        item = getattr(value, attr)
        if item is None or (not nullable and not item):
            continue
        text = write(item)
        if text:
            parts.append(prefix + text)
    return "{" + ",".join(parts) + "}" if parts else ""


def _encode_item(value: object) -> str:
    return _encode_struct(value) or "{}"


def _encode_structs(items: tuple[object, ...]) -> str:
    return "[" + ",".join(map(_encode_item, items)) + "]"


def _encode_strings(items: tuple[str, ...]) -> str:
    return "[" + ",".join(map(encode_string, items)) + "]"


_WRITERS: dict[Kind, _Writer] = {
    Kind.STRING: encode_string,
    Kind.INTEGER: str,
    Kind.BOOLEAN: lambda value: "true" if value else "false",
    Kind.STRUCT: _encode_struct,
    Kind.STRINGS: _encode_strings,
    Kind.STRUCTS: _encode_structs,
}
