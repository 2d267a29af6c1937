"""`flatyard plan`: the diff of a new cluster, of changes, of a refused one; invalid files with every error."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.world import RealWorld
from flatyard.cli import paint_plan
from flatyard.cli.talk import Talk
from flatyard.controller.documents import load
from flatyard.engine import record as records
from flatyard.engine.plan import Observed, plan
from flatyard.store import open_store

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = Path(__file__).parent / "golden"
QUICKSTART = "examples/quickstart.yaml"

NEW = """\
Plan for the new cluster quickstart on the simulated twin of aws us-east-1

    + Network/quickstart                  nodes live in 10.0.0.0/16
    + Endpoint/quickstart                 a stable name for the API, kind lb, port 6443
    + Machine/quickstart-control-plane-1  runs kubeadm init
    + Cluster/quickstart                  the cluster's intent
    + MachineDeployment/flatcar-workers   3 machines

Signs: + create
Machines: 4 to add, 0 to replace, 0 to destroy
Plan: 5 to add, 0 to change, 0 to destroy
"""


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's credentials are found, wherever this runs."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "ARM_", "OS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_new_cluster(flatyard):
    result = flatyard("plan", QUICKSTART)
    assert result.exit_code == 4
    assert result.stdout == NEW
    assert result.stderr.endswith(
        "next:\n"
        "  flatyard up examples/quickstart.yaml        # do it\n"
        "  flatyard rehearse examples/quickstart.yaml  # run it against the simulated twin of its cloud first\n"
    )


def test_plan_does_nothing(flatyard, state):
    flatyard("plan", QUICKSTART)
    assert not state.exists()


def test_a_warning_shows_the_line_that_it_is_about(flatyard):
    assert (
        "examples/quickstart.yaml:38:18: warning: spec.template.spec.providerSpec.value.cloudProviderSpec.ami: "
        "ami-xxxxx is a placeholder\n"
        '   38 |             ami: "ami-xxxxx"\n'
        "      |                  ^\n"
    ) in flatyard("plan", QUICKSTART).stderr


def test_what_the_cloud_only_warns_of_is_said(flatyard, tmp_path):
    """Preflight's warnings were kept to itself unless there was an error beside them."""
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "apiVersion: flatyard.dev/v1alpha1\nkind: Cluster\nmetadata: {name: alone}\nspec:\n"
        "  cloud: {sim: {as: azure, region: westus}}\n  kubernetes: {version: v1.34.3}\n"
        "  controlPlane: {replicas: 3}\n"
    )
    result = flatyard("plan", str(file))
    assert result.exit_code == 4
    assert f"{file}:7:28: warning: spec.controlPlane.replicas: 3 control planes in westus" in result.stderr


COUNTS = {
    "aws": (8, 7),
    "aws-image": (5, 3),
    "azure-image": (5, 3),
    "azure-sysext": (7, 5),
    "gcp": (8, 9),
    "openstack-jetstream2": (5, 3),
    "quickstart": (5, 4),
    "vsphere": (7, 6),
}


@pytest.mark.parametrize("name", COUNTS)
def test_each_example_plans(flatyard, name):
    result = flatyard("plan", "-o", "json", f"examples/{name}.yaml")
    assert result.exit_code == 4, result.stderr
    found = json.loads(result.stdout)
    objects, machines = COUNTS[name]
    assert found["summary"] == {"add": objects, "change": 0, "destroy": 0}
    assert found["machines"] == {"add": machines, "replace": 0, "destroy": 0}
    assert found["comparedWith"] == "nothing"
    assert found["simulated"] == (name == "quickstart")


def test_a_cloud_without_an_adapter_is_planned_and_can_be_rehearsed_but_not_made(flatyard):
    assert flatyard("plan", "examples/gcp.yaml").stderr.endswith(
        "  flatyard rehearse examples/gcp.yaml  # run it against the simulated twin of its cloud first\n"
    )
    result = flatyard("up", "examples/gcp.yaml")
    assert result.exit_code == 2
    assert "this release only simulates Google Cloud" in result.stderr
    assert result.stderr.endswith("  next: flatyard rehearse examples/gcp.yaml\n")


def test_without_an_account_a_real_cloud_is_planned_from_what_is_known_of_it_and_never_made(flatyard):
    planned = flatyard("plan", "examples/aws.yaml")
    assert planned.exit_code == 4
    assert "warning: spec.cloud: the account is not asked: " in planned.stderr
    assert "checked against what is known of aws. Next: " in planned.stderr
    result = flatyard("up", "--yes", "examples/aws.yaml")
    assert result.exit_code == 2
    assert "the account is not asked" not in result.stderr
    assert "\n  next: " in result.stderr


CLOUDS_YAML = """\
clouds:
  jetstream2: {auth: {auth_url: "https://nowhere.test:5000", username: me, password: hunter2, project_name: p}}
"""
WRONG_NAMES = {
    "aws": (
        {"AWS_PROFILE": "prot", "AWS_SHARED_CREDENTIALS_FILE": "credentials"},
        "aws.yaml:7:5: error: spec.cloud: there is no AWS profile 'prot' (the shared configuration has: prod)",
        "aws configure --profile prot",
    ),
    "openstack-jetstream2": (
        {"OS_CLIENT_CONFIG_FILE": "clouds.yaml"},
        "openstack-jetstream2.yaml:8:5: error: spec.cloud: clouds.yaml has no entry 'openstack' (it has: jetstream2)",
        "write a clouds.yaml and name its entry in OS_CLOUD",
    ),
}


@pytest.mark.parametrize("name", WRONG_NAMES)
@pytest.mark.parametrize("command", [("plan",), ("plan", "-o", "json"), ("up", "--yes")])
def test_credentials_that_are_named_and_not_there_are_an_error_before_anything_is_planned(
    flatyard, tmp_path, monkeypatch, name, command
):
    """Without any credentials a plan is made of what is known; a name that leads nowhere is a mistake."""
    (tmp_path / "credentials").write_text(
        "[prod]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n"
    )
    (tmp_path / "clouds.yaml").write_text(CLOUDS_YAML)
    variables, said, next = WRONG_NAMES[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, str(tmp_path / value) if variable.endswith("_FILE") else value)
    result = flatyard(*command, f"examples/{name}.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"examples/{said}\n" in result.stderr
    assert f"\n  next: {next}" in result.stderr
    assert "hunter2" not in result.stderr


def test_a_real_cluster_is_compared_with_what_the_store_knows(flatyard):
    wanted = load([str(ROOT / "examples/aws.yaml")]).wanted
    applied = tuple(json.dumps(object) for object in wanted.objects().values())

    async def remember() -> None:
        world = RealWorld()
        store = open_store(None, world)
        record = await records.create(store, world, "web", "aws")
        await records.save(store, replace(record, applied=applied))

    asyncio.run(remember())
    result = flatyard("plan", "examples/aws.yaml")
    assert result.stdout.startswith(
        "Plan for cluster web on aws eu-central-1, compared with what the store knows, not with the cloud\n"
    )
    found = json.loads(flatyard("plan", "-o", "json", "examples/aws.yaml").stdout)
    assert found["comparedWith"] == "what the store knows, not with the cloud"
    assert [change["object"] for change in found["changes"]] == ["Network/web", "Endpoint/web"]


def test_documents_may_stand_in_several_files(flatyard, tmp_path):
    cluster, deployment = (ROOT / QUICKSTART).read_text().split("\n---\n")
    (tmp_path / "cluster.yaml").write_text(cluster)
    (tmp_path / "workers.yaml").write_text(deployment)
    result = flatyard("plan", str(tmp_path / "workers.yaml"), str(tmp_path / "cluster.yaml"))
    assert (result.exit_code, result.stdout) == (4, NEW)


# ---- changes to a living cluster


def observed_of(wanted) -> Observed:
    """A cluster that was made from the same file."""
    objects = wanted.objects()
    return Observed(True, objects, objects, True, True, wanted.cluster.spec.control_plane.replicas)


def painted(file: Path, seen: Observed) -> str:
    made = plan(load([str(file)]).wanted, seen)
    return "\n".join(paint_plan.lines(made, Talk(), title="Plan")) + "\n"


@pytest.fixture
def changed(tmp_path):
    """The quickstart's plan after some of its text was replaced."""
    text = (ROOT / QUICKSTART).read_text()
    seen = observed_of(load([str(ROOT / QUICKSTART)]).wanted)

    def change(*pairs: tuple[str, str]) -> str:
        new = text
        for old, fresh in pairs:
            assert old in new
            new = new.replace(old, fresh)
        (tmp_path / "changed.yaml").write_text(new)
        return painted(tmp_path / "changed.yaml", seen)

    return change


def test_no_changes(changed):
    assert changed() == "No changes. Cluster quickstart matches the files.\n"


def test_more_replicas_change_in_place(changed):
    assert (
        changed(("replicas: 3", "replicas: 5"))
        == """\
Plan

    ~ MachineDeployment/flatcar-workers  the file changed
        spec.replicas: 3 → 5  # in place

Signs: ~ change in place
Machines: 0 to add, 0 to replace, 0 to destroy
Plan: 0 to add, 1 to change, 0 to destroy
"""
    )


def test_another_size_replaces_machines(changed):
    assert (
        changed(("t3.medium", "t3.large"))
        == """\
Plan

  -/+ MachineDeployment/flatcar-workers  3 machines are replaced one after the other
        spec.template.spec.providerSpec.value.cloudProviderSpec.instanceType: t3.medium → t3.large  # replaces machines

Signs: -/+ replace, one machine after the other
Machines: 0 to add, 3 to replace, 0 to destroy
Plan: 0 to add, 1 to change, 0 to destroy
"""
    )


def test_another_pod_network_is_refused_with_the_way_to_do_it(changed):
    text = changed(("  controlPlane: {", "  network: {pods: 10.200.0.0/16}\n  controlPlane: {"))
    assert "spec.network.pods: 10.244.0.0/16 → 10.200.0.0/16  # refused\n" in text
    assert "make a second cluster and move the workloads" in text


def test_a_pool_that_left_the_file_is_deleted_with_its_machines(tmp_path):
    wanted = load([str(ROOT / QUICKSTART)]).wanted
    made = plan(replace(wanted, deployments=()), observed_of(wanted))
    text = "\n".join(paint_plan.lines(made, Talk(), title="Plan"))
    assert "    - MachineDeployment/flatcar-workers  no longer in the file\n" in text
    assert text.endswith(
        "Machines: 0 to add, 0 to replace, 3 to destroy\nPlan: 0 to add, 0 to change, 1 to destroy"
    )


def test_what_was_changed_in_the_cluster_is_left_alone_and_said():
    wanted = load([str(ROOT / QUICKSTART)]).wanted
    seen = observed_of(wanted)
    key = "MachineDeployment/flatcar-workers"
    scaled = json.loads(json.dumps(seen.live[key]))
    scaled["spec"]["replicas"] = 7
    made = plan(wanted, replace(seen, live={**seen.live, key: scaled}))
    assert list(paint_plan.lines(made, Talk(), title="Plan")) == [
        "Left alone:",
        "      MachineDeployment/flatcar-workers: spec.replicas is 7 in the cluster and 3 in the file: left alone",
        "",
        "No changes. Cluster quickstart matches the files.",
    ]


def test_secrets_are_not_shown(changed):
    text = changed(("diskSize: 50", 'diskSize: 50\n            secretAccessKey: "hush"'))
    assert "hush" not in text
    assert "(sensitive)" in text


# ---- broken twins


BROKEN = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_every_error_at_its_place(flatyard, monkeypatch, name):
    monkeypatch.chdir(GOLDEN)
    result = flatyard("plan", f"{name}.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (GOLDEN / f"{name}.expected").read_text()


def test_there_is_a_broken_twin_of_each_example():
    assert set(COUNTS) <= set(BROKEN)


def test_a_file_that_is_not_there(flatyard):
    result = flatyard("plan", "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "nowhere.yaml:1:1: error: the file cannot be read: No such file or directory\n"
        "error: 1 error in the input\n"
    )


def test_what_the_cloud_would_refuse_is_refused_at_its_line(flatyard, tmp_path):
    text = (ROOT / QUICKSTART).read_text().replace("t3.medium", "t3.medum")
    (tmp_path / "file.yaml").write_text(text)
    result = flatyard("plan", str(tmp_path / "file.yaml"))
    assert result.exit_code == 2
    line = next(n for n, line in enumerate(text.splitlines(), 1) if "t3.medum" in line)
    assert f"file.yaml:{line}:27: error: " in result.stderr
    assert "did you mean 't3.medium'?" in result.stderr


def test_standard_input(flatyard, state):
    from click.testing import CliRunner

    from flatyard.cli.main import cli

    text = (ROOT / QUICKSTART).read_text()
    result = CliRunner().invoke(cli, ["plan", "-"], input=text, prog_name="flatyard")
    assert result.exit_code == 4
    assert result.stdout == NEW


def test_a_file_that_the_cluster_names_is_read_beside_it(tmp_path):
    (tmp_path / "extra.bu").write_text("variant: flatcar\nversion: 1.1.0\n")
    text = (ROOT / QUICKSTART).read_text()
    text = text.replace("  controlPlane: {", "  ignition: {all: [{file: extra.bu}]}\n  controlPlane: {")
    (tmp_path / "c.yaml").write_text(text)
    wanted = load([str(tmp_path / "c.yaml")]).wanted
    assert [raw.value for raw in wanted.cluster.spec.ignition.all] == ["variant: flatcar\nversion: 1.1.0\n"]
    (tmp_path / "extra.bu").unlink()
    with pytest.raises(Exception, match="the file cannot be read") as refused:
        load([str(tmp_path / "c.yaml")])
    assert str(refused.value).startswith(f"{tmp_path}/c.yaml:")


def test_the_plan_has_no_wall_time(flatyard):
    first, second = (flatyard("plan", "-o", "json", QUICKSTART).stdout for _ in range(2))
    assert first == second
