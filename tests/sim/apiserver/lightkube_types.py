"""The field names and types of the built-in kinds, read from lightkube's models.

`python tests/sim/apiserver/lightkube_types.py` writes them into the simulated API server, and a test holds
the two equal. lightkube's models come from Kubernetes' own OpenAPI document.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from flatyard.kube.kinds import BUILT_IN

TABLE = Path(__file__).parents[3] / "src/flatyard/sim/apiserver/types.json"
PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "datetime": "time"}
NAMED = {
    "meta_v1.Time": "time",
    "meta_v1.MicroTime": "microtime",
    "resource.Quantity": "quantity",
    "util_intstr.IntOrString": "int-or-string",
    "runtime.RawExtension": "any",
    "meta_v1.FieldsV1": "any",
    "Dict": "any",
    "dict": "any",
    "Any": "any",
}
OPEN = ("JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")
MODULES = {"": "core_v1", "rbac.authorization.k8s.io": "rbac_v1", "coordination.k8s.io": "coordination_v1",
           "certificates.k8s.io": "certificates_v1", "apiextensions.k8s.io": "apiextensions_v1"}  # fmt: skip


def module_of(group: str, version: str) -> str:
    return MODULES.get(group, f"{group.split('.', maxsplit=1)[0]}_{version}")


def shape(annotation: str, module: str) -> str:
    """`Optional[List[ContainerPort]]` in core_v1 as `[]core_v1.ContainerPort`."""
    if found := re.fullmatch(r"Optional\[(.*)\]", annotation):
        return shape(found[1], module)
    if found := re.fullmatch(r"List\[(.*)\]", annotation):
        return "[]" + shape(found[1], module)
    if annotation in ("dict", "Dict"):
        return "map"
    if annotation in PLAIN:
        return PLAIN[annotation]
    qualified = annotation if "." in annotation else f"{module}.{annotation}"
    if annotation in NAMED or qualified in NAMED:
        return NAMED.get(annotation) or NAMED[qualified]
    owner, name = qualified.split(".")
    if name in OPEN or not hasattr(_model(owner, name), "__struct_fields__"):
        return "any"
    return qualified


def _model(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"lightkube.models.{module}"), name)


def fields(qualified: str) -> dict[str, str]:
    module, name = qualified.split(".")
    model = _model(module, name)
    names = zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True)
    return {sent: shape(model.__annotations__[attribute], module) for attribute, sent in names}


def table() -> dict[str, dict[str, str]]:
    """Every type that is reachable from a built-in kind."""
    queue = [f"{module_of(k.resource.group, k.resource.version)}.{k.resource.kind}" for k in BUILT_IN]
    queue += ["autoscaling_v1.Scale", "policy_v1.Eviction"]
    types: dict[str, dict[str, str]] = {}
    while queue:
        name = queue.pop()
        if name in types:
            continue
        types[name] = fields(name)
        queue += [s.removeprefix("[]") for s in types[name].values() if "." in s]
    return {name: types[name] for name in sorted(types)}


def text() -> str:
    lines = [f" {json.dumps(name)}: {json.dumps(found)}" for name, found in table().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text())
