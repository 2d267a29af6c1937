"""OpenAPI v3 for the served kinds: what `kubectl apply` and `kubectl explain` ask for.

The schemas of built-in kinds come from the table of types, without the descriptions that the real server
has; the merge keys are those that strategic merge patches use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from flatyard.kube.api import Json
from flatyard.kube.kinds import Kind
from flatyard.sim.apiserver import discovery, types
from flatyard.sim.apiserver.strategic import MERGE_KEYS, MERGED_VALUES, RETAINS_KEYS

_STRING = {"type": "string"}
_PLAIN: dict[str, Json] = {
    "string": _STRING,
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "number": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int-or-string": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "map": {"type": "object", "additionalProperties": _STRING},
    "any": {},
}
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")
_ACTIONS = {"post": "post", "put": "put", "patch": "patch", "get": "get", "delete": "delete"}


def paths(kinds: Iterable[Kind]) -> dict[str, str]:
    """The documents that there are: `apis/apps/v1` and the like, with their addresses."""
    found = {}
    for (group, version), members in discovery.group_versions(kinds).items():
        name = f"apis/{group}/{version}" if group else f"api/{version}"
        text = json.dumps(document(members), sort_keys=True)
        found[name] = f"/openapi/v3/{name}?hash={digest(text.encode())}"
    return found


def digest(content: bytes) -> str:
    """The name under which clients keep an answer."""
    return hashlib.sha256(content).hexdigest().upper()


def document(kinds: Iterable[Kind]) -> Json:
    """The document of one group version."""
    schemas: dict[str, Json] = {}
    served: dict[str, Json] = {}
    for kind in kinds:
        name = _schema_name(kind)
        schemas[name] = _custom_schema(kind) if kind.custom else _schema(types.type_name(kind), schemas)
        schemas[name]["x-kubernetes-group-version-kind"] = [_identity(kind)]
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"] = _schema("meta_v1.ObjectMeta", schemas)
        served.update(_operations(kind, name))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes (simulated by flatyard)", "version": "v1"},
        "paths": served,
        "components": {"schemas": schemas},
    }


def _identity(kind: Kind) -> Json:
    resource = kind.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _schema_name(kind: Kind) -> str:
    if not kind.custom:
        return _public_name(types.type_name(kind))
    domain = ".".join(reversed(kind.resource.group.split(".")))
    return f"{domain}.{kind.resource.version}.{kind.resource.kind}"


def _public_name(name: str) -> str:
    """`core_v1.Pod` as Kubernetes' documents call it: `io.k8s.api.core.v1.Pod`."""
    module, type_name = name.split(".")
    group, version = module.split("_")
    if group == "meta":
        return f"io.k8s.apimachinery.pkg.apis.meta.{version}.{type_name}"
    return f"io.k8s.api.{group}.{version}.{type_name}"


def _custom_schema(kind: Kind) -> Json:
    schema = dict(kind.schema) or {"type": "object"}
    metadata = {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    known = {"apiVersion": _STRING, "kind": _STRING, **(schema.get("properties") or {})}
    return {**schema, "properties": {**known, "metadata": metadata}}


def _schema(name: str, schemas: dict[str, Json]) -> Json:
    """The schema of a type; those that it refers to are added to `schemas`."""
    public = _public_name(name)
    if public in schemas:
        return schemas[public]
    properties: dict[str, Json] = {}
    schema: Json = {"type": "object", "properties": properties}
    schemas[public] = schema
    for field, shape in types.fields(name).items():
        properties[field] = {**_property(shape, schemas), **_merging(name, field)}
    return schema


def _property(shape: str, schemas: dict[str, Json]) -> Json:
    if shape.startswith("[]"):
        return {"type": "array", "items": _property(shape[2:], schemas)}
    if "." in shape:
        _schema(shape, schemas)
        return {"allOf": [{"$ref": f"#/components/schemas/{_public_name(shape)}"}], "default": {}}
    return dict(_PLAIN[shape])


def _merging(name: str, field: str) -> Json:
    """How a strategic merge patch treats the field."""
    if (name, field) in MERGE_KEYS:
        key = MERGE_KEYS[name, field]
        strategy = "merge,retainKeys" if (name, field) in RETAINS_KEYS else "merge"
        return {"x-kubernetes-patch-merge-key": key, "x-kubernetes-patch-strategy": strategy}
    if (name, field) in MERGED_VALUES:
        return {"x-kubernetes-patch-strategy": "merge"}
    if (name, field) in RETAINS_KEYS:
        return {"x-kubernetes-patch-strategy": "retainKeys"}
    return {}


def _operations(kind: Kind, schema: str) -> dict[str, Json]:
    """The kind's paths with their operations."""
    collection = kind.resource.path("{namespace}" if kind.resource.namespaced else "")
    found: dict[str, Json] = {
        collection: {verb: _operation(kind, verb, schema) for verb in ("get", "post", "delete")},
        f"{collection}/{{name}}": {
            verb: _operation(kind, verb, schema) for verb in ("get", "put", "patch", "delete")
        },
    }
    if kind.resource.namespaced:
        found[kind.resource.path()] = {"get": _operation(kind, "get", schema)}
    for sub in discovery.subresources(kind):
        verb = "post" if sub.verbs == ("create",) else "patch"
        found[f"{collection}/{{name}}/{sub.name}"] = {verb: _operation(kind, verb, schema)}
    return found


def _operation(kind: Kind, verb: str, schema: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    content = {"application/json": {"schema": reference}}
    operation: Json = {
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": _ACTIONS[verb],
        "x-kubernetes-group-version-kind": _identity(kind),
    }
    if verb in ("post", "put", "patch"):
        operation["parameters"] = [_parameter(name) for name in _OPTIONS]
        operation["requestBody"] = {"content": {"*/*": {"schema": reference}}}
    return operation


def _parameter(name: str) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
