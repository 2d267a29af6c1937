"""Ignition JSON text → `Config` and what is wrong with it.

Reading follows Go's `encoding/json`: keys match whatever their case (and are then reported as unused), the
last duplicate wins, `null` is absence, numbers must be integer literals. A document without findings is read
by the standard library's C scanner alone; places in the text are only worked out for what is reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar, cast

from flatyard.base.values import dataclass, replace
from flatyard.ignition import jsontext, schema, spec
from flatyard.ignition.report import Entry, Path, error, is_fatal, warning
from flatyard.ignition.schema import Field, Kind
from flatyard.ignition.types import Config, Directory, File, Owner
from flatyard.ignition.validate import validate

LARGEST = 16 << 20
"""Bytes of a config that are looked at; platforms take far less, and a payload elsewhere is fetched by parts."""
_INT_LIMIT = 1 << 63
type_names = {"ConfigRefs": "IgnitionConfig", "Tls": "TLS", "User": "PasswdUser", "Group": "PasswdGroup"}


@dataclass(frozen=True, slots=True)
class Document:
    """A config as far as it could be read (`None` when it could not), its version, and the findings."""

    config: Config | None
    version: str
    report: tuple[Entry, ...]

    @property
    def is_valid(self) -> bool:
        """Whether Ignition would take it."""
        return self.config is not None and not is_fatal(self.report)


def read(data: bytes, *, release: spec.Release = spec.NEWEST) -> Document:
    """Parses and validates, as Ignition does with user data. Never raises for bad input."""
    document = parse(data, release=release)
    if document.config is None:
        return document
    found = validate(document.config)
    return replace(document, report=_placed(found, data) + document.report) if found else document


def parse(data: bytes, *, release: spec.Release = spec.NEWEST) -> Document:
    """Parses without validating; unused keys are warnings. Never raises for bad input."""
    if not data:
        return _refused("", error("not a config (empty)"))
    if len(data) > LARGEST:
        return _refused("", error(f"not a config (longer than {LARGEST} bytes)"))
    try:
        value = _load(data)
        version = _version(value)
        if not spec.is_version(version):
            return _refused(version, error("invalid config version (couldn't parse)"))
        if version not in release.versions:
            hint = spec.hint_for(version)
            return _refused(version, error("unsupported config version", hint=hint))
        reader = _Reader(spec.minor(version))
        config = cast(Config, reader.struct(Config, value, ()))
    except jsontext.JsonSyntaxError as problem:
        return _refused("", _at(error(str(problem)), data, problem.offset))
    except _WrongType as problem:
        return _refused("", _explain(problem, data))
    entries = _placed(tuple(reader.entries), data) if reader.entries else ()
    return Document(config, version, entries)


def check_fragment(data: bytes, version: str) -> tuple[tuple[Entry, ...], bool]:
    """What is wrong with a config that must be of exactly this version, as Butane looks at inline ones.

    The second value is false when the text could not be read at all, or is of another version: such a
    config is not looked at further.
    """
    try:
        value = _load(data)
        reader = _Reader(spec.minor(version))
        config = cast(Config, reader.struct(Config, value if value is not None else {}, ()))
    except jsontext.JsonSyntaxError as problem:
        return (_at(error(str(problem)), data, problem.offset),), False
    except _WrongType as problem:
        return (_explain(problem, data),), False
    if config.ignition.version != version and spec.is_version(config.ignition.version):
        return (), False
    found = validate(replace(config, ignition=replace(config.ignition, version=version)))
    if config.ignition.version != version:
        found = (error("invalid config version (couldn't parse)", ("ignition", "version")), *found)
    return (*found, *reader.entries), True


def up_translate(config: Config, version: str) -> Config:
    """The same config as a document of a newer spec: setuid, setgid and sticky bits, which specs before 3.6
    do not honour, are dropped on the way to 3.6."""
    before = spec.minor(config.ignition.version)
    config = replace(config, ignition=replace(config.ignition, version=version))
    if before >= spec.SPECIAL_BITS_SINCE or spec.minor(version) < spec.SPECIAL_BITS_SINCE:
        return config
    storage = config.storage
    files = tuple(map(_without_special_bits, storage.files))
    directories = tuple(map(_without_special_bits, storage.directories))
    return replace(config, storage=replace(storage, files=files, directories=directories))


_Node = TypeVar("_Node", File, Directory)


def _without_special_bits(node: _Node) -> _Node:
    if node.mode is None or not node.mode & 0o7000:
        return node
    return replace(node, mode=node.mode & ~0o7000)


def _refused(version: str, entry: Entry) -> Document:
    return Document(None, version, (entry,))


def _at(entry: Entry, data: bytes, offset: int) -> Entry:
    line, column = jsontext.line_column(data, offset)
    return replace(entry, line=line, column=column)


def _placed(entries: tuple[Entry, ...], data: bytes) -> tuple[Entry, ...]:
    try:
        root = jsontext.scan(data)
    except jsontext.JsonSyntaxError as problem:  # only for depth: the text was read before
        return (*entries, _at(error(str(problem)), data, problem.offset))
    offsets = [jsontext.find(root, e.path, key=e.message.startswith("unused key ")) for e in entries]
    places = jsontext.lines_columns(data, offsets)
    return tuple(
        replace(entry, line=places[offset][0], column=places[offset][1])
        for entry, offset in zip(entries, offsets, strict=True)
    )


# Loading: the C scanner where it agrees with Go


class _WrongType(ValueError):
    def __init__(self, path: Path, value: object, owner: str, go_path: str, wanted: str) -> None:
        super().__init__(wanted)
        self.path, self.value, self.owner, self.go_path, self.wanted = path, value, owner, go_path, wanted


def _load(data: bytes) -> object:
    jsontext.check_size(data)
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        jsontext.scan(data)  # says what Go says; it may also find the text fine, as with huge numbers
        raise jsontext.JsonSyntaxError("invalid number", len(data)) from None


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        return _with_duplicates(pairs)
    return result


def _with_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = {**before, **value}
        result[key] = value
    return result


def _version(value: object) -> str:
    """The version from the part of the document that Go decodes first."""
    if value is None:
        return ""
    if not isinstance(value, dict):
        raise _WrongType((), value, "", "", "util.versionStub")
    section = _lookup(value, "ignition")
    if section is None:
        return ""
    if not isinstance(section, dict):
        raise _WrongType(("ignition",), section, "versionStub", "ignition", "struct { Version string }")
    version = _lookup(section, "version")
    if version is not None and not isinstance(version, str):
        raise _WrongType(("ignition", "version"), version, "versionStub", "ignition.version", "string")
    return version or ""


def _lookup(value: Mapping[str, object], key: str) -> object:
    found = None
    for name, item in value.items():
        if (name == key or _fold(name) == key) and item is not None:
            found = item
    return found


def _fold(key: str) -> str:
    return key.lower().replace("\u017f", "s")


# Building


class _Reader:
    """Builds typed values for one minor version; collects unused keys."""

    def __init__(self, minor: int) -> None:
        self.minor = minor
        self.entries: list[Entry] = []
        self.readers: dict[Kind, Callable[[Field, object, Path], object]] = {
            Kind.STRING: self.string,
            Kind.INTEGER: self.integer,
            Kind.BOOLEAN: self.boolean,
            Kind.STRUCT: self.nested,
            Kind.STRINGS: self.strings,
            Kind.STRUCTS: self.structs,
        }

    def struct(self, cls: type, value: object, path: Path) -> object:
        known = schema.by_key(cls, self.minor)
        values: dict[str, object] = {}
        if type(value) is not dict:
            raise _WrongType(path, value, "", "", "types.Config")
        for key, item in value.items():
            field = known.get(key)
            if field is None or (key == "compression" and self.is_bare_reference(path)):
                self.unknown(known, key, item, path, values)
            elif item is not None:
                values[field.attr] = self.readers[field.kind](field, item, (*path, key))
            elif field.kind is Kind.STRUCT:
                self.mismatch((*path, key))
        return cls(**values)

    def unknown(
        self, known: Mapping[str, Field], key: str, item: object, path: Path, values: dict[str, object]
    ) -> None:
        """A key in another case is honoured, but the reference does not look for unused keys below it."""
        self.entries.append(warning(f"unused key {key}", (*path, key)))
        field = next((f for name, f in known.items() if name.lower() == _fold(key)), None)
        if field is not None and field.key != key and item is not None:
            mark = len(self.entries)
            values[field.attr] = self.readers[field.kind](field, item, (*path, key))
            del self.entries[mark:]

    def is_bare_reference(self, path: Path) -> bool:
        """In 3.0 what a config or an authority refers to is always uncompressed."""
        return self.minor == 0 and path[:1] == ("ignition",)

    def mismatch(self, path: Path) -> None:
        shown = ".".join(["$", *map(str, path)])
        text = (
            f"context tree does not match content tree at {shown}. Line and column reporting may be "
            "inconsistent. Unused keys may not be reported"
        )
        self.entries.append(warning(text, path))

    def string(self, field: Field, value: object, path: Path) -> str:
        if type(value) is str:
            return value if value.isprintable() else _well_formed(value)
        raise _wrong(field, value, path, "string")

    def integer(self, field: Field, value: object, path: Path) -> int:
        if type(value) is int and -_INT_LIMIT <= value < _INT_LIMIT:
            return value
        raise _wrong(field, value, path, "int")

    def boolean(self, field: Field, value: object, path: Path) -> bool:
        if type(value) is bool:
            return value
        raise _wrong(field, value, path, "bool")

    def nested(self, field: Field, value: object, path: Path) -> object:
        if type(value) is not dict or field.struct is None:
            raise _wrong(field, value, path, _go_struct(field))
        return self.struct(field.struct, value, path)

    def strings(self, field: Field, value: object, path: Path) -> tuple[str, ...]:
        if type(value) is not list:
            raise _wrong(field, value, path, "[]types." + field.key)
        return tuple(
            "" if item is None else self.string(field, item, (*path, index))
            for index, item in enumerate(value)
        )

    def structs(self, field: Field, value: object, path: Path) -> tuple[object, ...]:
        if type(value) is not list or field.struct is None:
            raise _wrong(field, value, path, "[]" + _go_struct(field))
        return tuple(self.item(field, item, (*path, index)) for index, item in enumerate(value))

    def item(self, field: Field, value: object, path: Path) -> object:
        assert field.struct is not None
        if type(value) is dict:
            return self.struct(field.struct, value, path)
        if value is not None:
            raise _wrong(field, value, path, _go_struct(field))
        self.mismatch(path)
        return field.struct()


def _well_formed(text: str) -> str:
    """Go reads half a surrogate pair as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# Type errors in Go's words

_EMBEDDED = {"append": "FileEmbedded1", "contents": "FileEmbedded1", "mode": "FileEmbedded1"}


def _go_struct(field: Field) -> str:
    assert field.struct is not None
    name = field.struct.__name__
    if field.struct is Owner:
        name = "NodeUser" if field.key == "user" else "NodeGroup"
    return "types." + type_names.get(name, name)


def _wrong(field: Field, value: object, path: Path, wanted: str) -> _WrongType:
    owner, parts = _go_path(path)
    return _WrongType(path, value, owner, ".".join(parts), wanted)


def _go_path(path: Path) -> tuple[str, list[str]]:
    """The struct that holds the field and the path to it with Go's embedded structs named."""
    cls: type = Config
    owner, parts = "Config", []
    for step in path:
        if isinstance(step, int):
            continue
        owner = type_names.get(cls.__name__, cls.__name__)
        parts += [_embedded(cls, step), step] if _embedded(cls, step) else [step]
        field = schema.by_key(cls, spec.minor(spec.STABLE[-1])).get(step)
        if field is not None and field.struct is not None:
            cls = field.struct
    return owner, parts


def _embedded(cls: type, key: str) -> str:
    if cls is File:
        return _EMBEDDED.get(key, "Node")
    if cls is Directory:
        return "DirectoryEmbedded1" if key == "mode" else "Node"
    return ""


def _explain(problem: _WrongType, data: bytes) -> Entry:
    try:
        root = jsontext.scan(data)
    except jsontext.JsonSyntaxError as syntax:  # only for depth: the text was read before
        return _at(error(str(syntax)), data, syntax.offset)
    node = root
    for step in problem.path:
        node = node.children.get(step, node)
    found = {"object": "object", "array": "array", "number": "number", "string": "string", "bool": "bool"}
    word = found.get(node.kind, node.kind)
    if node.kind == "number":
        word = f"number {data[node.start : node.end].decode()}"
    into = f"Go struct field {problem.owner}.{problem.go_path}" if problem.owner else "Go value"
    text = f"json: cannot unmarshal {word} into {into} of type {problem.wanted}"
    end = node.start + 1 if node.kind in ("object", "array") else node.end
    return replace(_at(error(text), data, end), path=())
