"""What anybody may write with kubectl: the engine tells what is wrong with it and goes on with the rest."""

from __future__ import annotations

import asyncio
import copy

import pytest

from flatyard.engine.commands import bring_up
from flatyard.engine.run import engine_of
from flatyard.kube.api import Invalid
from flatyard.kube.resources import EVENTS, MACHINE_DEPLOYMENTS, MACHINE_SETS, MACHINES

DEADLINE = 3600.0
SPACE = "kube-system"


def deployment(spec):
    return {
        "apiVersion": "cluster.k8s.io/v1alpha1",
        "kind": "MachineDeployment",
        "metadata": {"name": "strange", "namespace": SPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, **spec},
    }


def template(value):
    return {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"providerSpec": value}}}


FLATCAR = {"operatingSystem": "flatcar", "operatingSystemSpec": {}}
STRANGE = {
    "no template": ({}, "template is missing"),
    "no provider": (template({}), "value is missing"),
    "a cloud that is not the cluster's": (
        template(
            {"value": {"cloudProvider": "azure", "cloudProviderSpec": {"vmSize": "Standard_B2s"}, **FLATCAR}}
        ),
        "is not one of aws's machines",
    ),
    "a cloud that is not known": (
        template(
            {"value": {"cloudProvider": "hetzner", "cloudProviderSpec": {"serverType": "cx22"}, **FLATCAR}}
        ),
        "is not one of aws's machines",
    ),
    "replicas below zero": ({"replicas": -1, **template({"value": {"cloudProvider": "aws"}})}, "replicas"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_it_is_told_and_the_rest_goes_on(simulate, example, what):
    spec, said = STRANGE[what]

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        api = life.region.kubernetes.client()
        async with engine_of(life.seams(), "quickstart") as engine:
            await engine.until_done(DEADLINE)
            try:
                await api.create(MACHINE_DEPLOYMENTS, deployment(spec))
            except Invalid:
                return
            await api.scale(MACHINE_DEPLOYMENTS, SPACE, "flatcar-workers", 4)
            await asyncio.sleep(2)
            outcome = await engine.until_done(DEADLINE)
        strange = [w for w in outcome.waits if "strange" in str(w.key)]
        assert strange and any(said in w.reason for w in strange), outcome.waits
        assert [w for w in outcome.waits if "strange" not in str(w.key)] == []
        machines = [m for m in (await api.list(MACHINES)).items if "flatcar-workers" in m.name]
        assert len(machines) == 4

    simulate(main, example("quickstart.yaml"))


def test_a_machine_by_itself_joins_and_is_told_apart(simulate, example):
    """A Machine without a set, applied by hand: it gets an id, an instance and a node."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        api = life.region.kubernetes.client()
        (only,) = (await api.list(MACHINE_SETS)).items
        spec = copy.deepcopy(only.spec["template"]["spec"])
        spec["providerSpec"]["value"]["cloudProviderSpec"]["instanceType"] = "t3.large"
        machine = {
            "apiVersion": "cluster.k8s.io/v1alpha1",
            "kind": "Machine",
            "metadata": {"name": "alone", "namespace": SPACE},
            "spec": spec,
        }
        async with engine_of(life.seams(), "quickstart") as engine:
            await engine.until_done(DEADLINE)
            await api.create(MACHINES, machine)
            await asyncio.sleep(2)
            outcome = await engine.until_done(DEADLINE)
        assert outcome.done, outcome.waits
        alone = await api.get(MACHINES, SPACE, "alone")
        assert alone.status["phase"] == "Running"
        told = [
            e.raw["reason"]
            for e in (await api.list(EVENTS, SPACE)).items
            if e.raw["involvedObject"]["name"] == "alone"
        ]
        assert {"Created", "NodeJoined"} <= set(told)

    simulate(main, example("quickstart.yaml"))
