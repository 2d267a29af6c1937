"""Machine specs that read values from Secrets and ConfigMaps of the cluster, as those of machine-controller may."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from engine.twin import documents, wanted
from flatyard.base.errors import InvalidInput
from flatyard.clouds.pools import pools
from flatyard.decode import from_json
from flatyard.decode.types import ConfigVar, ConfigVarBool
from flatyard.engine.commands import bring_up, take_down
from flatyard.engine.plan import NOTHING, plan
from flatyard.engine.references import unchecked
from flatyard.kube.api import Unreachable
from flatyard.kube.resources import CONFIGMAPS, EVENTS, MACHINES, SECRETS
from flatyard.model.machines import BY_CLOUD, AwsMachine, AzureMachine, OpenstackMachine, VsphereMachine
from flatyard.model.references import Reference, references, resolved

DEADLINE = 3600.0
SIZE = "m5.xlarge"


def ref(kind: str, key: str, name: str = "fleet") -> str:
    return f"{{{kind}KeyRef: {{namespace: kube-system, name: {name}, key: {key}}}}}"


async def make(life, kind: str, **data: str) -> None:
    api = life.region.kubernetes.client()
    metadata = {"name": "fleet", "namespace": "kube-system"}
    if kind == "secret":
        data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    resource = SECRETS if kind == "secret" else CONFIGMAPS
    await api.create(resource, {"metadata": metadata, "data": data})


async def change(life, **data: str) -> None:
    api = life.region.kubernetes.client()
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    await api.merge_patch(SECRETS, "kube-system", "fleet", {"data": encoded})


def workers(life):
    return [row for row in life.region.provider.account.instances if "control-plane" not in row.name]


async def up(life):
    _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
    return outcome


def told(outcome) -> str:
    return "\n".join(f"{wait.key}: {wait.reason} | {wait.next}" for wait in outcome.waits)


@pytest.mark.parametrize("kind", ["secret", "configMap"])
def test_a_machine_is_made_with_what_its_spec_reads(simulate, kind):
    async def main(life):
        outcome = await up(life)
        assert not outcome.done and not workers(life)
        what = {"secret": "Secret", "configMap": "ConfigMap"}[kind]
        said = f"instanceType of MachineDeployment general is read from {what} kube-system/fleet, key size"
        assert f"{said}: there is no such {what}" in told(outcome)
        create = {"secret": "secret generic", "configMap": "configmap"}[kind]
        assert f"kubectl create {create} -n kube-system fleet --from-literal=size=…" in told(outcome)
        await make(life, kind, size=f"{SIZE}\n")
        outcome = await up(life)
        assert outcome.done, told(outcome)
        assert [row.size for row in workers(life)] == [SIZE]
        assert (await take_down(life.seams(), "prod", DEADLINE)).gone and life.region.left_over() == ()

    simulate(main, wanted(f"{{instanceType: {ref(kind, 'size')}}}"))


def test_what_is_there_when_the_api_answers_is_read_by_the_same_up(simulate):
    async def soon(life):
        while True:
            try:
                return await make(life, "secret", size=SIZE)
            except Unreachable:
                await asyncio.sleep(1)

    async def main(life):
        outcome, _ = await asyncio.gather(up(life), soon(life))
        assert outcome.done, told(outcome)
        assert [row.size for row in workers(life)] == [SIZE]

    simulate(main, wanted(f"{{instanceType: {ref('secret', 'size')}}}"))


def test_a_field_that_is_true_or_false(simulate):
    machine = f"{{assignPublicIP: {ref('secret', 'public')}, vmSize: {ref('secret', 'size')}}}"

    async def main(life):
        await up(life)
        await make(life, "secret", public="yes, please", size="Standard_D2s_v3")
        outcome = await up(life)
        assert "assignPublicIP of MachineDeployment general" in told(outcome)
        assert "it is neither true nor false" in told(outcome) and "yes, please" not in told(outcome)
        await change(life, public="True")
        outcome = await up(life)
        assert outcome.done, told(outcome)
        assert [row.size for row in workers(life)] == ["Standard_D2s_v3"]

    simulate(main, wanted(machine, "azure"))


def test_a_key_that_is_missing_is_named_with_the_command_that_adds_it(simulate):
    async def main(life):
        await up(life)
        await make(life, "secret", other="x")
        outcome = await up(life)
        assert "Secret kube-system/fleet, key size: the Secret has no such key" in told(outcome)
        assert """kubectl patch secret -n kube-system fleet -p '{"stringData":{"size":"…"}}'""" in told(
            outcome
        )

    simulate(main, wanted(f"{{instanceType: {ref('secret', 'size')}}}"))


def test_what_was_read_is_in_no_object_no_event_and_no_line(simulate):
    """But in the Secret that the create request is, which goes when the machine has joined."""

    async def main(life):
        await up(life)
        await make(life, "secret", size=SIZE)
        outcome = await up(life)
        assert outcome.done, told(outcome)
        api = life.region.kubernetes.client()
        for kind in (MACHINES, EVENTS):
            assert not [one for one in (await api.list(kind)).items if SIZE in str(one.raw)]
        left = [one for one in (await api.list(SECRETS)).items if one.name.startswith("flatyard-create")]
        assert left == [] and SIZE not in str(life.steps)
        for path in await life.store.list():
            found = await life.store.read(path)
            assert SIZE.encode() not in found.value, path

    simulate(main, wanted(f"{{instanceType: {ref('secret', 'size')}}}"))


def test_credentials_are_not_read_and_that_is_told(simulate):
    machine = f"{{accessKeyId: {ref('secret', 'id')}, secretAccessKey: {ref('secret', 'key')}}}"
    warned = [str(problem) for problem in documents(machine).warnings]
    assert len(warned) == 2
    assert "prod.yaml:8" in warned[0] and "spec.workers[0].machine.accessKeyId" in warned[0]
    assert "not read from Secret kube-system/fleet, key id: flatyard finds its account as" in warned[0]

    async def main(life):
        outcome = await up(life)
        assert outcome.done, told(outcome)

    simulate(main, wanted(machine))


def test_a_control_plane_cannot_read_from_the_cluster_that_it_makes():
    with pytest.raises(InvalidInput) as refused:
        documents("{}", plane=f"{{instanceType: {ref('secret', 'size')}}}")
    (problem,) = refused.value.problems
    assert problem.path == "spec.controlPlane.machine.instanceType"
    assert "is in the cluster that this machine has to make first" in problem.what


def test_preflight_leaves_such_a_pool_out_and_says_so():
    found = wanted(f"{{instanceType: {ref('secret', 'size')}, availabilityZone: nowhere}}")
    assert [pool.name for pool in pools(found.cluster, found.deployments)] == ["prod-control-plane"]
    (warning,) = unchecked(found)
    assert warning.path == "spec.workers[0].machine.instanceType"
    assert warning.what.startswith("read in the cluster from Secret kube-system/fleet, key size")


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_secret_in_the_file_is_refused_with_the_place_where_it_belongs(kind):
    text = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: fleet, namespace: kube-system}}\n"
    with pytest.raises(InvalidInput) as refused:
        documents(more="---\n" + text)
    (problem,) = refused.value.problems
    assert "kubectl apply -f it once the cluster's API answers" in problem.what


def test_a_plan_shows_where_it_is_read_and_asks_nobody():
    made = plan(wanted(f"{{instanceType: {ref('secret', 'size')}}}"), NOTHING)
    (deployment,) = [w.object for w in made.writes if w.kind == "MachineDeployment"]
    machine = deployment["spec"]["template"]["spec"]["providerSpec"]["value"]["cloudProviderSpec"]
    place = {"namespace": "kube-system", "name": "fleet", "key": "size"}
    assert machine["instanceType"] == {"secretKeyRef": place}


HERE = Reference("Secret", "kube-system", "fleet", "it")


@pytest.mark.parametrize(
    ("machine", "field", "value", "made"),
    [
        (AwsMachine, "subnetId", "subnet-1", AwsMachine(subnet_id=ConfigVar("subnet-1"))),
        (AwsMachine, "ebsVolumeEncrypted", "1", AwsMachine(ebs_volume_encrypted=ConfigVarBool(True))),
        (AzureMachine, "imageID", "/a/b", AzureMachine(image_id=ConfigVar("/a/b"))),
        (AzureMachine, "assignPublicIP", "F", AzureMachine(assign_public_ip=ConfigVarBool(False))),
        (OpenstackMachine, "image", "flatcar", OpenstackMachine(image_name=ConfigVar("flatcar"))),
        (OpenstackMachine, "networks[1]", "b", OpenstackMachine(networks=(ConfigVar("a"), ConfigVar("b")))),
        (VsphereMachine, "datastore", "ds", VsphereMachine(datastore=ConfigVar("ds"))),
    ],
)
def test_each_form_of_a_field_is_read(machine, field, value, made):
    """As written in a document, and by machine-controller's names."""
    key, _, number = field.partition("[")
    place = {"secretKeyRef": {"namespace": "kube-system", "name": "fleet", "key": "it"}}
    found = from_json(machine, {key: ["a", place] if number else place})
    assert references(found) == {field: HERE}
    assert resolved(found, {HERE: value}) == made


def test_a_secret_counts_before_a_config_map_and_both_before_the_value():
    """machine-controller's order; a reference that is not whole counts as none."""
    other = {"namespace": "kube-system", "name": "fleet", "key": "other"}
    both = {"value": "a", "secretKeyRef": other | {"key": "it"}, "configMapKeyRef": other}
    assert references(from_json(AwsMachine, {"subnetId": both})) == {"subnetId": HERE}
    part = {"value": "a", "secretKeyRef": {"name": "fleet", "key": "it"}}
    assert references(from_json(AwsMachine, {"subnetId": part})) == {}


@pytest.mark.parametrize("machine", BY_CLOUD.values())
def test_references_stand_in_a_machine_specs_own_fields(machine):
    """What is below them is not walked: no type of those may have any."""
    hints = get_type_hints(machine)
    for each in fields(machine):
        for hint in (hints[each.name], *get_args(hints[each.name])):
            if is_dataclass(hint) and hint not in (ConfigVar, ConfigVarBool):
                inner = str([one.type for one in fields(hint)])
                assert "ConfigVar" not in inner, f"{machine.__name__}.{each.name}"
