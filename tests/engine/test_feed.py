"""The feed that a cluster's file names: nodes fetch Kubernetes there, and follow its patches there."""

from __future__ import annotations

import pytest

from flatyard.base.errors import InvalidInput
from flatyard.engine.commands import bring_up
from flatyard.engine.plan import NOTHING, plan
from flatyard.engine.record import load
from flatyard.engine.wanted import wanted_of
from flatyard.kube.resources import CLUSTERS, CUSTOM_RESOURCE_DEFINITIONS
from flatyard.model.documents import read
from flatyard.sysext.feed import Pin, ordered
from flatyard.sysext.layout import BAKERY
from flatyard.sysext.simulated import simulated_feed

DEADLINE = 3600.0
MIRROR, OTHER = "https://mirror.example/extensions", "https://other.example/ext"
FILE = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {{name: prod}}
spec:
  cloud: {{sim: {{as: gcp}}}}
  kubernetes: {{version: v1.34.3, feed: "{feed}"}}
  controlPlane: {{replicas: 1}}
  workers: [{{name: general, replicas: {workers}}}]
"""


def documents(feed: str, workers: int = 1):
    text = FILE.format(feed=feed, workers=workers)
    return read([("prod.yaml", text if feed else text.replace(', feed: ""', ""))], need_cluster=True)


def wanted(feed: str):
    found = documents(feed)
    return wanted_of(found.cluster, found.machine_deployments)


async def pins(life):
    record = await load(life.store, "prod")
    return {pin.url for pin in record.images.pins.values()}


def image_of(base: str) -> str:
    return f"{base}/kubernetes/kubernetes-v1.34.3-x86-64.raw"


def transfer(life, name: str) -> str:
    """Where sysupdate looks on a machine of this instance, or whose name begins so."""
    machines = life.region.machines.machines
    machine = machines.get(name) or next(m for m in machines.values() if m.hardware.name.startswith(name))
    return machine.boot.tree.text("/etc/sysupdate.kubernetes.d/kubernetes-v1.34.conf")


def test_nodes_fetch_kubernetes_and_its_patches_where_the_file_says(simulate):
    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert await pins(life) == {image_of(MIRROR)}
        for name in ("prod-control-plane-1", "general"):
            assert f"Path={MIRROR}/kubernetes/\n" in transfer(life, name)

    simulate(main, wanted(MIRROR + "/"))


def test_without_one_it_is_the_bakery(simulate):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        assert await pins(life) == {image_of(BAKERY)}
        assert f"Path={BAKERY}/kubernetes/\n" in transfer(life, "general")

    simulate(main, wanted(""))


def test_another_feed_is_where_new_machines_fetch_the_same_bytes(simulate):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        before = set(life.region.machines.machines)
        more = documents(OTHER, workers=2)
        made, outcome = await bring_up(life.seams(), wanted_of(more.cluster, ()), DEADLINE)
        assert "spec.kubernetes.feed" in [field.path for change in made.changes for field in change.fields]
        assert outcome.done, outcome.waits
        assert await pins(life) == {image_of(OTHER)}
        (new,) = set(life.region.machines.machines) - before
        assert f"Path={OTHER}/kubernetes/\n" in transfer(life, new)

    simulate(main, wanted(MIRROR))


def test_a_cluster_of_a_release_that_knew_no_feeds_learns_of_them(simulate):
    """Its API would drop the field without a word: the definition of clusters comes first."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        api = life.region.kubernetes.client()
        old = (await api.get(CUSTOM_RESOURCE_DEFINITIONS, "", "clusters.flatyard.dev")).edit()
        (version,) = old["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        del spec["kubernetes"]["properties"]["feed"]
        await api.replace(CUSTOM_RESOURCE_DEFINITIONS, old)
        _, outcome = await bring_up(life.seams(), wanted(OTHER), DEADLINE)
        assert outcome.done, outcome.waits
        assert (await api.get(CLUSTERS, "kube-system", "prod")).spec["kubernetes"]["feed"] == OTHER
        assert await pins(life) == {image_of(OTHER)}

    simulate(main, wanted(MIRROR))


def test_a_feed_with_other_bytes_under_the_same_version_is_refused(simulate):
    class Forged:
        async def feed(self, base: str):
            made = simulated_feed(base=base)
            return type(made)(base, ordered(Pin(p.version, p.arch, "0" * 64) for p in made.pins))

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        life.region.feeds = Forged()
        other = wanted_of(documents(OTHER, workers=2).cluster, ())
        _, outcome = await bring_up(life.seams(), other, 600.0)
        said = "\n".join(wait.reason for wait in outcome.waits)
        assert f"{OTHER} has another Kubernetes v1.34.3 for amd64 than this cluster's machines run" in said
        assert await pins(life) == {image_of(MIRROR)}

    simulate(main, wanted(MIRROR))


@pytest.mark.parametrize(
    "feed", ["/srv/feed", "mirror.example", "https://me:secret@mirror.example", "ftp://x"]
)
def test_what_is_no_address_is_refused_where_it_stands(feed):
    with pytest.raises(InvalidInput) as refused:
        documents(feed)
    (problem,) = refused.value.problems
    assert (problem.path, problem.position.line) == ("spec.kubernetes.feed", 6)
    assert "https://mirror.example/extensions" in problem.allowed


@pytest.mark.parametrize(
    ("feed", "told"),
    [
        ("https://mirror.example", ""),
        ("http://127.0.0.1:8099/x", ""),
        ("http://[::1]:80/x", ""),
        ("http://mirror.example", "whoever stands between can exchange Kubernetes on every node"),
    ],
)
def test_an_open_way_is_warned_about_where_it_leaves_the_machine(feed, told):
    said = "\n".join(str(problem) for problem in documents(feed).warnings)
    assert (told in said) if told else not said


def test_the_plan_of_a_new_cluster_names_the_feed():
    (cluster,) = [c for c in plan(wanted(MIRROR), NOTHING).changes if c.object == "Cluster/prod"]
    assert cluster.why == f"the cluster's intent; Kubernetes from {MIRROR}"
