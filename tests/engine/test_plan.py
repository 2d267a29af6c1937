"""What `plan` says for a file against what is there: created, changed, replaced, refused, pruned, left alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Refused
from flatyard.engine.apply import refuse
from flatyard.engine.changes import ChangeClass, differences
from flatyard.engine.plan import NOTHING, Observed, Sign, plan
from flatyard.engine.wanted import wanted_of, with_replicas
from flatyard.kube.merge import difference, merge
from flatyard.model.annotations import AUTOSCALER_MIN
from flatyard.model.documents import read

EXAMPLES = Path(__file__).parents[2] / "examples"


def wanted(name="quickstart.yaml", text=None):
    file = EXAMPLES / name
    found = read([(name, text or file.read_text())], need_cluster=True)
    return wanted_of(found.cluster, found.machine_deployments)


def observed(of, **more):
    objects = of.objects()
    live = {key: copy.deepcopy(object) for key, object in objects.items()}
    return Observed(True, live, objects, has_network=True, has_endpoint=True, control_planes=1, **more)


def test_a_new_cluster_names_everything_that_will_be_made():
    made = plan(wanted(), NOTHING)
    assert [(c.sign, c.object, c.machines) for c in made.changes] == [
        (Sign.CREATE, "Network/quickstart", 0),
        (Sign.CREATE, "Endpoint/quickstart", 0),
        (Sign.CREATE, "Machine/quickstart-control-plane-1", 1),
        (Sign.CREATE, "Cluster/quickstart", 0),
        (Sign.CREATE, "MachineDeployment/flatcar-workers", 3),
    ]


def test_the_same_file_again_changes_nothing():
    assert plan(wanted(), observed(wanted())).changes == ()


def test_replicas_change_in_place():
    before = wanted()
    made = plan(with_replicas(before, 5), observed(before))
    (change,) = made.changes
    assert (change.sign, change.object) == (Sign.CHANGE, "MachineDeployment/flatcar-workers")
    assert [(f.path, f.old, f.new, f.change) for f in change.fields] == [
        ("spec.replicas", 3, 5, ChangeClass.IN_PLACE)
    ]
    assert made.writes[0].patch == {"spec": {"replicas": 5}}


def test_another_size_replaces_machines_and_counts_them():
    before = wanted()
    text = (EXAMPLES / "quickstart.yaml").read_text().replace("t3.medium", "t3.large")
    (change,) = plan(wanted(text=text), observed(before)).changes
    assert (change.sign, change.machines) == (Sign.REPLACE, 3)


def test_another_kubelet_is_in_place_for_sysext():
    before = wanted()
    text = (EXAMPLES / "quickstart.yaml").read_text().replace("<YOUR-KUBERNETES-VERSION>", "v1.34.2")
    (change,) = plan(wanted(text=text), observed(before)).changes
    assert [f.change for f in change.fields] == [ChangeClass.IN_PLACE]


def test_another_region_is_refused_with_the_way_to_do_it():
    before = wanted()
    text = (EXAMPLES / "quickstart.yaml").read_text().replace("region: us-east-1}", "region: eu-west-1}")
    made = plan(wanted(text=text.replace('region: "us-east-1"', 'region: "eu-west-1"')), observed(before))
    with pytest.raises(Refused) as caught:
        refuse(made)
    assert "spec.cloud.sim.region" in caught.value.what
    assert "second cluster" in caught.value.next


def test_what_somebody_scaled_by_hand_stays_and_is_said():
    there = observed(wanted())
    there.live["MachineDeployment/flatcar-workers"]["spec"]["replicas"] = 7
    made = plan(wanted(), there)
    assert made.changes == ()
    assert [u.why for u in made.untouched] == [
        "spec.replicas is 7 in the cluster and 3 in the file: left alone"
    ]


def test_replicas_of_an_autoscaled_pool_are_never_written():
    there = observed(wanted())
    there.live["MachineDeployment/flatcar-workers"]["metadata"]["annotations"][AUTOSCALER_MIN] = "1"
    made = plan(with_replicas(wanted(), 9), there)
    assert made.writes == ()
    assert [u.why for u in made.untouched] == ["replicas belong to the cluster autoscaler"]


def test_only_what_up_made_is_pruned():
    before = wanted()
    there = observed(before)
    mine = there.live["MachineDeployment/flatcar-workers"]
    foreign = copy.deepcopy(mine)
    foreign["metadata"] = {"name": "by-hand", "namespace": "kube-system"}
    there.live["MachineDeployment/by-hand"] = foreign
    made = plan(replace(before, deployments=()), there)
    assert [(c.sign, c.object) for c in made.changes] == [(Sign.DELETE, "MachineDeployment/flatcar-workers")]
    assert [(u.object, u.why) for u in made.untouched] == [
        ("MachineDeployment/by-hand", "not made by flatyard up")
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2], "c": None}}),
        ({"a": {"b": 1}}, {}),
        ({}, {"a": {"b": {"c": 1}}}),
    ],
)
def test_a_merge_patch_turns_the_old_into_the_new(old, new):
    without_null = merge({}, new)
    assert merge(copy.deepcopy(old), difference(old, without_null)) == without_null


def test_differences_name_each_leaf_once():
    assert list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": {"e": 1}})) == [
        ("a.c", 2, 3),
        ("d.e", None, 1),
    ]
