"""JSON Schema (draft 2020-12) of the types that decode, for editors."""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.decode import codecs as c
from flatyard.decode.record import Field, Record, record_of
from flatyard.decode.types import JSON

Schema = dict[str, JSON]
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(cls: type) -> Schema:
    """The schema of documents of this class; classes inside stand under ``$defs``."""
    definitions: dict[str, JSON] = {}
    root = _record(record_of(cls, True), definitions)
    definitions.pop(cls.__name__, None)
    return {"$schema": DRAFT, "title": cls.__name__, **root, "$defs": dict(sorted(definitions.items()))}


def _record(record: Record, definitions: dict[str, JSON]) -> Schema:
    out: Schema = {
        "type": "object",
        "description": (record.cls.__doc__ or "").strip().split("\n")[0],
        "properties": {each.key: _field(each, definitions) for each in record.fields},
    }
    required: list[JSON] = [each.key for each in record.fields if each.required or each.constant]
    if required:
        out["required"] = required
    if not record.keeps:
        out["additionalProperties"] = False
    conditions = [condition for each in record.fields for condition in _conditions(each, definitions)]
    if conditions:
        out["allOf"] = conditions
    return out


def _conditions(each: Field, definitions: dict[str, JSON]) -> list[JSON]:
    """For a field whose type its sibling chooses: what it is for each of the sibling's values."""
    if not isinstance(each.codec, c.Chosen) or not each.codec.sibling:
        return []
    return [
        {
            "if": {"properties": {each.codec.sibling: {"const": tag}}},
            "then": {"properties": {each.key: _codec(codec, definitions)}},
        }
        for tag, codec in each.codec.types.items()
    ]


def _field(each: Field, definitions: dict[str, JSON]) -> Schema:
    schema = _codec(each.codec, definitions)
    out: Schema = {"description": each.meta.doc, **schema} if each.meta.doc else schema
    if isinstance(each.default, str | int | bool) and each.default != "" and not each.constant:
        out = {**out, "default": each.default}
    if each.meta.secret:
        out = {**out, "writeOnly": True}
    return out


def _codec(codec: c.Codec, definitions: dict[str, JSON]) -> Schema:
    match codec:
        case Record():
            return _reference(codec, definitions)
        case c.Checked(codec=inner, rule=rule):
            return {**_codec(inner, definitions), **rule.schema}
        case c.Chosen():
            if codec.sibling:
                return {"type": "object"}
            return {"anyOf": [_codec(each, definitions) for each in codec.types.values()]}
        case c.ListOf():
            return {"type": "array", "items": _codec(codec.item, definitions)}
        case c.MapOf():
            return {"type": "object", "additionalProperties": _codec(codec.item, definitions)}
        case c.OneOf():
            return {"enum": list(codec.values)}
        case c.Reference():
            plain, mapping = codec.forms
            return {"anyOf": [_codec(plain, definitions), _codec(mapping, definitions)]}
    return dict(_LEAVES[codec]) if codec in _LEAVES else {}


_LEAVES: Mapping[c.Codec, Schema] = {
    c.TEXT: {"type": "string"},
    c.TRUTH: {"type": "boolean"},
    c.WHOLE: {"type": "integer"},
    c.REAL: {"type": "number"},
    c.DURATION: {"type": "string", "format": "duration-go", "examples": ["30m", "4h"]},
    c.QUANTITY: {"type": ["string", "number"], "examples": ["500m", "1Gi"]},
    c.INT_OR_TEXT: {"type": ["integer", "string"]},
}


def _reference(record: Record, definitions: dict[str, JSON]) -> Schema:
    name = record.cls.__name__
    if name not in definitions:
        definitions[name] = None  # a class may contain itself
        definitions[name] = _record(record, definitions)
    return {"$ref": f"#/$defs/{name}"}
