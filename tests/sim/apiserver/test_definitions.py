"""Custom kinds come and go with their definitions."""

from __future__ import annotations

import asyncio
import copy

import pytest

from flatyard.base.world import SeededWorld
from flatyard.kube.api import Invalid, NotFound
from flatyard.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, MACHINES, Resource
from flatyard.sim import loop
from flatyard.sim.apiserver.cluster import make_api

WIDGETS = Resource("example.org", "v1", "widgets", "Widget")
SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
}
DEFINITION = {
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}],
    },
}


def widget(**spec: object) -> dict:
    return {"metadata": {"name": "w", "namespace": "default", "finalizers": ["example.org/x"]}, "spec": spec}


def in_a_cluster(scenario, stored=(), persist=None) -> None:
    async def run() -> None:
        world = SeededWorld(1, asyncio.get_running_loop().time)
        await scenario(await make_api(world, stored=stored, persist=persist))

    loop.run(run())


def test_a_kind_is_served_while_it_is_defined() -> None:
    async def scenario(api) -> None:
        with pytest.raises(NotFound):
            await api.create(WIDGETS, widget())
        made = await api.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
        assert [c["type"] for c in made.status["conditions"]] == ["NamesAccepted", "Established"]
        await api.create(WIDGETS, widget(size=1))
        await api.delete(CUSTOM_RESOURCE_DEFINITIONS, "", "widgets.example.org")
        await asyncio.sleep(1)
        with pytest.raises(NotFound):
            await api.list(WIDGETS)
        assert (await api.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)).uid != made.uid
        assert (await api.list(WIDGETS)).items == ()

    in_a_cluster(scenario)


def test_a_changed_definition_changes_what_is_checked() -> None:
    async def scenario(api) -> None:
        definition = await api.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
        before = await api.create(WIDGETS, widget(size=1, colour="red"))
        assert before.spec == {"size": 1}
        raw = copy.deepcopy(definition.raw)
        properties = raw["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"][
            "properties"
        ]
        properties["colour"] = {"type": "string", "enum": ["red"]}
        await api.replace(CUSTOM_RESOURCE_DEFINITIONS, raw)
        changed = await api.merge_patch(WIDGETS, "default", "w", {"spec": {"colour": "red"}})
        assert (changed.uid, changed.spec) == (before.uid, {"size": 1, "colour": "red"})
        with pytest.raises(Invalid, match="supported values"):
            await api.merge_patch(WIDGETS, "default", "w", {"spec": {"colour": "blue"}})

    in_a_cluster(scenario)


def test_custom_objects_survive_a_restart_with_their_definition() -> None:
    kept: dict[str, bytes] = {}

    def persist(key: str, value: bytes | None) -> None:
        kept.pop(key, None)
        if value is not None:
            kept[key] = value

    async def first(api) -> None:
        await api.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
        await api.create(WIDGETS, widget(size=3))

    async def second(api) -> None:
        assert (await api.get(WIDGETS, "default", "w")).spec == {"size": 3}
        assert (await api.list(MACHINES)).items == ()

    in_a_cluster(first, persist=persist)
    in_a_cluster(second, stored=sorted(kept.items(), reverse=True))


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        (lambda raw: raw["spec"].pop("names"), "names"),
        (lambda raw: raw["spec"].update(versions=[]), "versions"),
        (lambda raw: raw["metadata"].update(name="gadgets.example.org"), "must be spec.names.plural"),
    ],
)
def test_a_definition_that_makes_no_kind_is_refused(break_it, word) -> None:
    async def scenario(api) -> None:
        raw = copy.deepcopy(DEFINITION)
        break_it(raw)
        with pytest.raises(Invalid, match=word):
            await api.create(CUSTOM_RESOURCE_DEFINITIONS, raw)

    in_a_cluster(scenario)
