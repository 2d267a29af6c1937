"""JSON Schemas say what the decoder does: the keys, the required ones, the enumerations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flatyard.decode import JSON
from flatyard.decode.record import Record, record_of
from flatyard.kube import crds
from flatyard.model.cluster import ClusterSpec
from flatyard.model.schema import schemas


def walk(tree: JSON) -> Iterator[dict[str, JSON]]:
    if isinstance(tree, dict):
        yield tree
        for each in tree.values():
            yield from walk(each)
    if isinstance(tree, list):
        for each in tree:
            yield from walk(each)


def test_every_kind_has_a_schema_whose_references_resolve() -> None:
    assert list(schemas()) == ["Cluster", "MachineDeployment", "MachineSet", "Machine"]
    for schema in schemas().values():
        definitions = schema["$defs"]
        assert isinstance(definitions, dict)
        used = {str(each["$ref"]).removeprefix("#/$defs/") for each in walk(schema) if "$ref" in each}
        assert used == set(definitions)
        assert None not in definitions.values()


def definition(kind: str, name: str) -> dict[str, JSON]:
    definitions = schemas()[kind]["$defs"]
    assert isinstance(definitions, dict)
    found = definitions[name]
    assert isinstance(found, dict)
    return found


def test_a_cluster_takes_no_other_keys_and_a_deployment_does() -> None:
    assert schemas()["Cluster"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas()["MachineDeployment"]
    assert definition("Cluster", "AwsMachine")["additionalProperties"] is False
    assert "additionalProperties" not in definition("MachineDeployment", "AwsMachine")


def test_fields_have_types_rules_defaults_and_words() -> None:
    assert definition("Cluster", "Kubernetes")["properties"] == {
        "version": {
            "description": "Kubernetes version.",
            "type": "string",
            "pattern": "^(?:v1\\.[0-9]{1,3}\\.[0-9]{1,3})$",
            "default": "v1.34.3",
        },
        "flavor": {
            "description": "sysext: pinned extension; image: baked into the image.",
            "type": "string",
            "enum": ["sysext", "image"],
            "default": "sysext",
        },
        "feed": {
            "description": "Where extension images are fetched; empty: FLATYARD_FEED of whoever runs flatyard, "
            "or the bakery.",
            "type": "string",
            "pattern": "^(?:https?://[^/\\s?#@]+(/[^\\s?#]*)?)$",
        },
        "patches": {
            "description": "Who moves to new patch releases.",
            "type": "string",
            "enum": ["manual", "auto"],
            "default": "manual",
        },
    }
    assert definition("Cluster", "Window")["required"] == ["start", "length"]


def test_the_machine_of_a_deployment_hangs_on_its_provider() -> None:
    provider = definition("MachineDeployment", "ProviderSpec")
    conditions = provider["allOf"]
    assert isinstance(conditions, list) and len(conditions) == 6
    assert conditions[0] == {
        "if": {"properties": {"cloudProvider": {"const": "aws"}}},
        "then": {"properties": {"cloudProviderSpec": {"$ref": "#/$defs/AwsMachine"}}},
    }


def test_secrets_are_marked() -> None:
    properties = definition("MachineDeployment", "AzureMachine")["properties"]
    assert isinstance(properties, dict)
    marked = [name for name, each in properties.items() if isinstance(each, dict) and each.get("writeOnly")]
    assert marked == ["clientSecret"]


def test_the_definition_in_the_cluster_has_every_key_of_a_cluster_file() -> None:
    """A key that it has not is dropped by the API server without a word."""
    mine = next(one for one in crds.definitions() if one["metadata"]["name"] == "clusters.flatyard.dev")
    (version,) = mine["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    written = record_of(ClusterSpec, True)
    assert list(_dropped(written, spec, "spec")) == []


def _dropped(record: Record, known: dict[str, Any], path: str) -> Iterator[str]:
    """The keys below a dataclass that the schema has not, as far as it says what there may be."""
    if known.get("x-kubernetes-preserve-unknown-fields"):
        return
    for each in record.fields:
        here = known.get("properties", {}).get(each.key)
        if here is None:
            yield f"{path}.{each.key}"
        elif isinstance(each.codec, Record):
            yield from _dropped(each.codec, here, f"{path}.{each.key}")
