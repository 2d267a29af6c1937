"""Ignition configs as canonical JSON: the bytes that the reference implementation writes.

Key order is that of its structs, absent and empty values are left out, and strings are escaped as Go's
`encoding/json` does with HTML escaping on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter

from flatyard.base.patterns import pattern
from flatyard.base.typed import TYPE_CHECKING
from flatyard.ignition import schema
from flatyard.ignition.schema import Kind
from flatyard.ignition.types import Config

if TYPE_CHECKING:
    import re

_PLAIN = bytes(code for code in range(0x20, 0x80) if chr(code) not in '"\\<>&')
_UNUSUAL = pattern("[\x00-\x1f<>&\u2028\u2029\ud800-\udfff]")
_TOKEN = pattern(r'"(?:[^"\\]|\\.)*"|\{\}|\[\]|[{}\[\],:]|[^"{}\[\],:]+')
_COMMON = b'\n"\\'
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
    odd = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)  # several times a search's speed
    if not odd:
        return f'"{text}"'
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_UNUSUAL.sub(_form, quoted) if odd.strip(_COMMON) else quoted}"'


def _form(match: re.Match[str]) -> str:
    """A character that Go escapes; half a surrogate pair becomes U+FFFD."""
    character = match[0]
    code = 0xFFFD if "\ud800" <= character <= "\udfff" else ord(character)
    return _SHORT_FORMS.get(character) or f"\\u{code:04x}"


_Writer = Callable[..., str]


_Values = tuple[object, ...]
_Row = tuple[str, _Writer, bool]
_Table = tuple[Callable[[object], _Values], bool, _Values, tuple[_Row, ...]]
_tables: dict[type, _Table] = {}


def _table(cls: type) -> _Table:
    """What reads all fields of a class at once; whether none of them is a struct, so that comparing all of them is
    cheap; their defaults, which are left out in every class; and for each its JSON key, writer, and whether an empty
    value counts."""
    known = schema.fields(cls)
    getter = _getter([f.attr for f in known])
    is_leaf = all(f.struct is None for f in known)
    rows = tuple((f'"{f.key}":', _WRITERS[f.kind], f.nullable) for f in known)
    return _tables.setdefault(cls, (getter, is_leaf, getter(cls()), rows))


def _getter(names: list[str]) -> Callable[[object], _Values]:
    if len(names) > 1:
        return attrgetter(*names)
    only = attrgetter(names[0])
    return lambda value: (only(value),)


def _encode_struct(value: object) -> str:
    cls = value.__class__
    getter, is_leaf, absent, rows = _tables.get(cls) or _table(cls)
    values = getter(value)
    if is_leaf and values == absent:
        return ""
    parts = []
    for item, default, row in zip(values, absent, rows, strict=True):
        if item is default:
            continue
        prefix, write, nullable = row
        if not item and not nullable:
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
