"""Schemas, strategic merge, ages: the rules that the recordings only touch."""

from __future__ import annotations

import asyncio

import pytest

from flatyard.base.world import SeededWorld
from flatyard.kube import crds
from flatyard.kube.api import Invalid
from flatyard.kube.resources import CLUSTERS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SERVICES
from flatyard.sim import loop
from flatyard.sim.apiserver import schema, strategic
from flatyard.sim.apiserver.cluster import make_api
from flatyard.sim.apiserver.printers import human
from flatyard.sim.apiserver.tables import look

CLUSTER = next(kind for kind in crds.kinds() if kind.resource == CLUSTERS)


def cluster(**spec: object) -> dict:
    return {"metadata": {"name": "x"}, "spec": {"cloud": {"sim": {}}, **spec}}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"kubernetes": {"flavor": "deb"}}, "spec.kubernetes.flavor",
         'Unsupported value: "deb": supported values: "sysext", "image"'),
        ({"kubernetes": {"version": "1.34"}}, "spec.kubernetes.version",
         'Invalid value: "1.34": spec.kubernetes.version in body should match \'^v1\\.[0-9]+\\.[0-9]+$\''),
        ({"controlPlane": {"replicas": 2}}, "spec.controlPlane.replicas",
         'Unsupported value: 2: supported values: "1", "3", "5"'),
        ({"cloud": {"aws": {}, "gcp": {}}}, "spec.cloud",
         'Invalid value: {"aws": {}, "gcp": {}}: spec.cloud in body should have at most 1 properties'),
        ({"workers": ["x"]}, "spec.workers[0]",
         'Invalid value: "string": spec.workers[0] in body must be of type object: "string"'),
        ({"cloud": None}, "spec.cloud", 'Invalid value: "null": spec.cloud in body must be of type object: "null"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_cluster(spec, field, message) -> None:
    causes = schema.validate(CLUSTER, cluster(**spec))
    assert [(c.field, c.message) for c in causes] == [(field, message)]


def test_a_missing_field_is_named() -> None:
    assert [c.field for c in schema.validate(CLUSTER, {"spec": {}})] == ["spec.cloud"]


def test_unknown_fields_are_dropped_and_defaults_filled_in() -> None:
    unknown: list[str] = []
    raw = cluster(kubernetes={"bogus": 1}, workers=[{"name": "a", "anything": {"goes": True}}], nope=2)
    pruned = schema.prune(CLUSTER.schema, raw, unknown)
    assert sorted(unknown) == ["spec.kubernetes.bogus", "spec.nope"]
    assert schema.default(CLUSTER.schema, pruned)["spec"] == {
        "cloud": {"sim": {}},
        "kubernetes": {"flavor": "sysext"},
        "workers": [{"name": "a", "anything": {"goes": True}}],
    }


def pod(*containers: dict) -> dict:
    return {"spec": {"containers": list(containers)}}


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        (pod({"name": "a", "image": "2"}), [("a", "2"), ("b", "1")]),
        (pod({"name": "c", "image": "1"}), [("c", "1"), ("a", "1"), ("b", "1")]),
        (pod({"name": "b", "image": "2"}), [("a", "1"), ("b", "2")]),
        (pod({"name": "a", "$patch": "delete"}), [("b", "1")]),
        (pod({"$patch": "replace"}, {"name": "z", "image": "9"}), [("z", "9")]),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": []}},
            [("b", "1"), ("a", "1")],
        ),
        ({"spec": {"$patch": "replace", "containers": [{"name": "n", "image": "1"}]}}, [("n", "1")]),
    ],
)
def test_strategic_merge_of_containers(patch, result) -> None:
    target = pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    merged = strategic.apply("core_v1.Pod", target, patch)
    assert [(c["name"], c["image"]) for c in merged["spec"]["containers"]] == result
    assert len(target["spec"]["containers"]) == 2


def test_strategic_merge_keeps_only_what_it_is_told_to() -> None:
    target = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply("apps_v1.Deployment", target, patch) == {
        "spec": {"strategy": {"type": "Recreate"}}
    }


def test_plain_lists_are_replaced_and_finalizers_merged() -> None:
    target = {
        "metadata": {"finalizers": ["a"]},
        "spec": {"containers": [{"name": "c", "command": ["x", "y"]}]},
    }
    patch = {"metadata": {"finalizers": ["b"]}, "spec": {"containers": [{"name": "c", "command": ["z"]}]}}
    merged = strategic.apply("core_v1.Pod", target, patch)
    assert merged["metadata"]["finalizers"] == ["b", "a"]
    assert merged["spec"]["containers"][0]["command"] == ["z"]
    removed = strategic.apply(
        "core_v1.Pod", merged, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    )
    assert removed["metadata"]["finalizers"] == ["b"]


def test_an_unknown_directive_is_refused() -> None:
    with pytest.raises(Invalid, match=r"\$bogus"):
        strategic.apply("core_v1.Pod", {}, {"$bogus": 1})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (599, "9m59s"), (600, "10m"),
        (10_799, "179m"), (10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
        (180_000, "2d2h"), (691_200, "8d"), (63_072_000, "2y"), (70_000_000, "2y80d"), (300_000_000, "9y"),
    ],
)  # fmt: skip
def test_ages_are_printed_as_kubectl_prints_them(seconds, text) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".metadata.name", "x"),
        (".status.addresses[0].address", "10.0.0.1"),
        (".status.addresses[9].address", None),
        (".metadata.annotations['flatyard.dev/a']", "b"),
        (r".metadata.annotations.flatyard\.dev/a", "b"),
        (".nothing.at.all", None),
    ],
)
def test_columns_look_where_their_path_says(path, value) -> None:
    raw = {
        "metadata": {"name": "x", "annotations": {"flatyard.dev/a": "b"}},
        "status": {"addresses": [{"address": "10.0.0.1"}]},
    }
    assert look(raw, path) == value


def test_a_restart_makes_nothing_twice() -> None:
    kept: dict[str, bytes] = {}

    def persist(key: str, value: bytes | None) -> None:
        kept.pop(key, None)
        if value is not None:
            kept[key] = value

    async def run() -> None:
        world = SeededWorld(1, asyncio.get_running_loop().time)
        first = await make_api(world, persist=persist)
        again = await make_api(world, persist=persist, stored=dict(kept).items())
        for resource in (CUSTOM_RESOURCE_DEFINITIONS, SERVICES, NAMESPACES):
            listed = [[o.raw for o in (await api.list(resource)).items] for api in (first, again)]
            assert listed[0] == listed[1] and listed[0]

    loop.run(run())
