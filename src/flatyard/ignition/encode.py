"""Ignition configs as canonical JSON: the bytes that the reference implementation writes.

Key order is that of its structs, absent and empty values are left out, and strings are escaped as Go's
`encoding/json` does with HTML escaping on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flatyard.base.patterns import pattern
from flatyard.base.typed import TYPE_CHECKING
from flatyard.ignition import schema
from flatyard.ignition.schema import Kind
from flatyard.ignition.types import Config

if TYPE_CHECKING:
    import re

_UNUSUAL = pattern("[\x00-\x1f<>&\u2028\u2029\ud800-\udfff]")
_TOKEN = pattern(r'"(?:[^"\\]|\\.)*"|\{\}|\[\]|[{}\[\],:]|[^"{}\[\],:]+')
_SHORT_FORMS = {"\r": "\\r", "\t": "\\t"}


def encode(config: Config, *, newline: bool = False) -> bytes:
    """The canonical one-line JSON of a config, UTF-8. `newline` adds the trailing one that Butane prints."""
    text = _encode_struct(config) or "{}"
    return (text + "\n" if newline else text).encode()


def encode_entry(entry: object) -> bytes:
    """One file, unit, user … as it stands inside the config."""
    return _encode_item(entry).encode()


def encode_pretty(config: Config) -> bytes:
    """The same document indented by two spaces, with a trailing newline."""
    return ("".join(_indented(encode(config).decode())) + "\n").encode()


def _indented(text: str) -> Iterator[str]:
    depth = 0
    for token in _TOKEN.findall(text):
        if token in ("}", "]"):
            depth -= 1
            yield "\n" + "  " * depth
        yield token
        if token in ("{", "["):
            depth += 1
        if token in ("{", "[", ","):
            yield "\n" + "  " * depth
        elif token == ":":
            yield " "


def encode_string(text: str) -> str:
    """A JSON string literal with Go's escapes."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_UNUSUAL.sub(_form, quoted) if _UNUSUAL.search(quoted) else quoted}"'


def _form(match: re.Match[str]) -> str:
    """A character that Go escapes; half a surrogate pair becomes U+FFFD."""
    character = match[0]
    code = 0xFFFD if "\ud800" <= character <= "\udfff" else ord(character)
    return _SHORT_FORMS.get(character) or f"\\u{code:04x}"


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
