"""Documents as people write them: examples read, old guides' fragments are understood, broken twins are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flatyard.base.errors import InvalidInput, Problem, Severity
from flatyard.model.documents import Documents, read

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
BROKEN = Path(__file__).resolve().parent / "broken"

CLUSTERS = {
    "aws.yaml": ("web", "aws", 3, 4),
    "aws-image.yaml": ("baked", "aws", 1, 2),
    "azure-image.yaml": ("baked", "azure", 1, 2),
    "azure-sysext.yaml": ("prod", "azure", 3, 2),
    "gcp.yaml": ("batch", "gcp", 3, 6),
    "openstack-jetstream2.yaml": ("kubejetstream", "openstack", 1, 2),
    "local-ha.yaml": ("local-ha", "local", 3, 1),
    "local.yaml": ("local", "local", 1, 2),
    "quickstart.yaml": ("quickstart", "aws", 1, 0),
    "vsphere.yaml": ("hall", "vsphere", 3, 3),
}


def example(name: str) -> Documents:
    return read([(name, (EXAMPLES / name).read_bytes())])


def lines(problems: tuple[Problem, ...]) -> list[str]:
    return [str(problem) for problem in problems]


def refusal(*texts: tuple[str, str | bytes], need_cluster: bool = False) -> list[str]:
    with pytest.raises(InvalidInput) as error:
        read(texts, need_cluster=need_cluster)
    return lines(error.value.problems)


def test_every_cluster_file_among_the_examples_is_tested() -> None:
    files = {path.name for path in EXAMPLES.glob("*.yaml") if "kind: Cluster" in path.read_text()}
    assert files == set(CLUSTERS)


@pytest.mark.parametrize("name", CLUSTERS)
def test_cluster_files_read(name: str) -> None:
    documents = example(name)
    cluster = documents.cluster
    assert cluster is not None
    workers = sum(pool.replicas for pool in cluster.spec.workers)
    found = (cluster.name, cluster.spec.cloud.twin, cluster.spec.control_plane.replicas, workers)
    assert found == CLUSTERS[name]
    if name != "quickstart.yaml":
        assert documents.warnings == ()


VALUE = "spec.template.spec.providerSpec.value"
WORKERS_WARNINGS = [
    (20, 13, f"{VALUE}.cloudProviderSpec: no instanceProfile: the cluster's own instance profile is used"),
    (20, 13, f"{VALUE}.cloudProviderSpec: no securityGroupIDs: the cluster's own security group is used"),
    (23, 20, f"{VALUE}.cloudProviderSpec.vpcId: vpc-xxxxx is a placeholder"),
    (24, 23, f"{VALUE}.cloudProviderSpec.subnetId: subnet-xxxxx is a placeholder"),
    (26, 18, f"{VALUE}.cloudProviderSpec.ami: ami-xxxxx is a placeholder"),
]
KUBELET = (
    "spec.template.spec.versions.kubelet: <YOUR-KUBERNETES-VERSION> is a placeholder; the cluster's version"
)


def test_the_quickstart_is_a_cluster_and_the_known_deployment_byte_for_byte() -> None:
    text = (EXAMPLES / "quickstart.yaml").read_bytes()
    whole = (EXAMPLES / "flatcar-workers.yaml").read_bytes()
    assert text.endswith(b"---\n" + whole)
    documents = example("quickstart.yaml")
    assert documents.cluster is not None and documents.cluster.spec.workers == ()
    (deployment,) = documents.machine_deployments
    assert deployment.spec.replicas == 3
    offset = text[: -len(whole)].count(b"\n")
    assert lines(documents.warnings) == [
        *(
            f"quickstart.yaml:{line + offset}:{column}: warning: {rest}"
            for line, column, rest in WORKERS_WARNINGS
        ),
        f"quickstart.yaml:{35 + offset}:18: warning: {KUBELET} v1.34.3 is used; "
        "allowed: a version like v1.34.3; did you mean 'v1.34.3'?",
    ]


def test_the_known_deployment_alone_reads_with_the_same_warnings() -> None:
    documents = example("flatcar-workers.yaml")
    assert documents.cluster is None
    assert lines(documents.warnings) == [
        *(
            f"flatcar-workers.yaml:{line}:{column}: warning: {rest}"
            for line, column, rest in WORKERS_WARNINGS
        ),
        f"flatcar-workers.yaml:35:18: warning: {KUBELET} is used; allowed: a version like v1.34.3",
    ]


def test_placeholders_are_errors_on_a_real_cloud() -> None:
    text = (
        (EXAMPLES / "quickstart.yaml")
        .read_text()
        .replace("sim: {as: aws, region: us-east-1}", "aws: {region: us-east-1}")
    )
    found = [line for line in refusal(("q.yaml", text)) if ": error: " in line]
    assert [line.split(": error: ")[1].split(" is a")[0] for line in found] == [
        f"{VALUE}.cloudProviderSpec.vpcId: vpc-xxxxx",
        f"{VALUE}.cloudProviderSpec.subnetId: subnet-xxxxx",
        f"{VALUE}.cloudProviderSpec.ami: ami-xxxxx",
        "spec.template.spec.versions.kubelet: <YOUR-KUBERNETES-VERSION>",
    ]


def test_the_quickstart_runs_on_real_aws_with_real_ids() -> None:
    text = (EXAMPLES / "quickstart.yaml").read_text()
    for old, new in {
        "sim: {as: aws, region: us-east-1}": "aws: {region: us-east-1}",
        "vpc-xxxxx": "vpc-0a1b2c3d4e5f60718",
        "subnet-xxxxx": "subnet-0a1b2c3d4e5f60718",
        "ami-xxxxx": "ami-0a1b2c3d4e5f60718",
        "<YOUR-KUBERNETES-VERSION>": "v1.34.3",
    }.items():
        text = text.replace(old, new)
    documents = read([("q.yaml", text)])
    assert documents.cluster is not None and not documents.cluster.spec.cloud.simulated
    assert len(documents.warnings) == 2


# ---- fragments --------------------------------------------------------------------------------------------

BASES = {
    "aws": {"region": "us-east-1", "instanceType": "t3.medium", "diskSize": 50, "securityGroupIDs": ["sg-1"],
            "instanceProfile": "nodes"},
    "azure": {"vmSize": "Standard_B2s", "resourceGroup": "g"},
    "gce": {"machineType": "e2-standard-2", "zone": "europe-west3-a"},
    "openstack": {"flavor": "m3.small", "image": "x"},
    "vsphere": {"templateVMName": "x", "cpus": 2, "memoryMB": 4096},
}  # fmt: skip

OVERLAYS = {
    "snippet-aws.yaml": ("aws", [f"warning: {VALUE}.cloudProviderSpec.ami: ami-xxxxx is a placeholder"]),
    "snippet-azure.yaml": (
        "azure",
        [
            f"warning: {VALUE}.cloudProviderSpec.imageReference.offer: this offer is retired and needs a purchase "
            "plan, which is filled in; allowed: offer flatcar-container-linux-corevm-amd64, sku stable-gen2, no "
            "plan; or no imageReference at all; did you mean 'flatcar-container-linux-corevm-amd64'?"
        ],
    ),
    "snippet-custom-ignition.yaml": (
        "aws",
        [
            f"warning: {VALUE}.operatingSystemSpec.cloudInit: machine-controller drops cloudInit; flatyard merges "
            "it after the generated config; allowed: spec.ignition.workers of the Cluster"
        ],
    ),
    "snippet-gce.yaml": (
        "gce",
        [
            f"warning: {VALUE}.cloudProviderSpec.customImage: machine-controller cannot use an image's full path; "
            "flatyard does; allowed: an image's bare name, or no customImage for the newest of the channel"
        ],
    ),
    "snippet-ignition.yaml": ("aws", []),
    "snippet-no-updates.yaml": ("aws", []),
    "snippet-openstack.yaml": ("openstack", []),
    "snippet-os.yaml": ("aws", []),
    "snippet-ssh.yaml": (
        "aws",
        [
            f"warning: {VALUE}.cloudProviderSpec.sshPublicKeys: sshPublicKeys belongs one level up and is read as "
            "if it stood there; allowed: providerSpec.value.sshPublicKeys",
            f"warning: {VALUE}.cloudProviderSpec.sshPublicKeys[0]: ssh-rsa AAAAB3NzaC1yc2E... is a placeholder",
        ],
    ),
    "snippet-vsphere.yaml": ("vsphere", []),
}


def complete(provider: str) -> dict[str, object]:
    """A MachineDeployment with nothing to warn about."""
    value = {
        "cloudProvider": provider,
        "cloudProviderSpec": BASES[provider],
        "operatingSystem": "flatcar",
        "operatingSystemSpec": {},
    }
    machine = {"providerSpec": {"value": value}, "versions": {"kubelet": "v1.34.3"}}
    return {
        "apiVersion": "cluster.k8s.io/v1alpha1",
        "kind": "MachineDeployment",
        "metadata": {"name": "workers", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": {"name": "workers"}},
            "template": {"metadata": {"labels": {"name": "workers"}}, "spec": machine},
        },
    }


def overlaid(base: object, over: object) -> object:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: overlaid(base.get(key), value) for key, value in over.items()}}
    return over


def paste(name: str) -> str:
    provider, _ = OVERLAYS[name]
    fragment = yaml.safe_load((EXAMPLES / name).read_text())
    if "spec" not in fragment:
        fragment = {"spec": {"template": {"spec": {"providerSpec": {"value": fragment}}}}}
    return yaml.safe_dump(overlaid(complete(provider), fragment), sort_keys=False)


def test_every_fragment_among_the_examples_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("snippet-*.yaml")} == set(OVERLAYS)


@pytest.mark.parametrize("provider", BASES)
def test_a_complete_deployment_reads_without_a_word(provider: str) -> None:
    assert read([("w.yaml", yaml.safe_dump(complete(provider)))]).warnings == ()


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_fragment_in_its_place_reads(name: str) -> None:
    documents = read([("w.yaml", paste(name))])
    assert [line.split(": ", 1)[1] for line in lines(documents.warnings)] == OVERLAYS[name][1]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_fragment_alone_is_told_where_it_belongs(name: str) -> None:
    (line,) = refusal((name, (EXAMPLES / name).read_text()))
    assert ": error: a fragment that starts with " in line
    assert "of a MachineDeployment" in line or "into a MachineDeployment" in line


def test_configs_alone_are_told_where_they_belong() -> None:
    (butane,) = refusal(("k.bu", (EXAMPLES / "kubernetes-sysext.bu").read_text()))
    (ignition,) = refusal(("c.ign", (EXAMPLES / "custom.ign").read_text()))
    allowed = "; allowed: flatyard.dev/v1alpha1 Cluster, cluster.k8s.io/v1alpha1 MachineDeployment"
    where = "name it in a Cluster, spec.ignition: {all: [{file: "
    assert butane == f"k.bu:1:1: error: this is a Butane config: {where}k.bu}}]}}{allowed}"
    assert ignition == f"c.ign:1:1: error: this is an Ignition config: {where}c.ign}}]}}{allowed}"


@pytest.mark.parametrize("name", ["cluster.tfvars", "all.yml"])
def test_other_files_are_refused_with_what_is_read(name: str) -> None:
    assert (
        "Cluster, cluster.k8s.io/v1alpha1 MachineDeployment"
        in refusal((name, (EXAMPLES / name).read_text()))[0]
    )


# ---- several documents and files --------------------------------------------------------------------------

LOCAL = "apiVersion: flatyard.dev/v1alpha1\nkind: Cluster\nmetadata: {name: one}\nspec: {cloud: {sim: {as: aws}}}\n"


def test_documents_may_stand_in_several_files() -> None:
    documents = read([("c.yaml", LOCAL), ("w.yaml", yaml.safe_dump(complete("aws")))])
    assert documents.cluster is not None and len(documents.machine_deployments) == 1
    assert str(documents.at_deployments[0]("spec").position) == "w.yaml:7:3"
    assert str(documents.at_cluster("spec", "cloud").position) == "c.yaml:4:15"


def test_json_documents_read_by_their_file_name() -> None:
    head = '{"apiVersion": "flatyard.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "a"},'
    text = f'{head}\n "spec": {{"clod": 1}}}}'
    assert refusal(("c.json", text)) == [
        "c.json:2:11: error: spec.clod: unknown key 'clod'; allowed: cloud, kubernetes, flatcar, network, endpoint, "
        "controlPlane, workers, updates, access, ignition, addons; did you mean 'cloud'?",
    ]


def test_a_second_cluster_is_refused_where_it_stands() -> None:
    assert refusal(("a.yaml", LOCAL), ("b.yaml", LOCAL)) == [
        "b.yaml:2:7: error: kind: a second Cluster; allowed: one Cluster per command"
    ]


def test_a_command_that_needs_a_cluster_says_so() -> None:
    (line,) = refusal(("w.yaml", yaml.safe_dump(complete("aws"))), need_cluster=True)
    assert line.startswith("w.yaml:1:1: error: no Cluster among the documents")
    (line,) = refusal(("empty.yaml", "# nothing\n"), need_cluster=True)
    assert line.startswith("empty.yaml:1:1: error: no Cluster among the documents")


def test_pools_of_one_name_are_refused_across_files() -> None:
    workers = yaml.safe_dump(complete("aws"))
    (line,) = refusal(("a.yaml", workers), ("b.yaml", workers))
    assert line == (
        "b.yaml:4:9: error: metadata.name: a second pool named workers, the first is at a.yaml:4:9; "
        "allowed: a name of its own"
    )


# ---- broken twins -----------------------------------------------------------------------------------------


def twins() -> list[Path]:
    return sorted(BROKEN.glob("*.yaml"))


def expected(problems: tuple[Problem, ...]) -> str:
    return "".join(f"{line}\n" for line in lines(problems))


@pytest.mark.parametrize("path", twins(), ids=lambda path: path.stem)
def test_broken_twins_are_refused_with_every_error(path: Path) -> None:
    with pytest.raises(InvalidInput) as error:
        read([(path.name, path.read_bytes())])
    assert expected(error.value.problems) == path.with_suffix(".expected").read_text()
    assert any(problem.severity is Severity.ERROR for problem in error.value.problems)


def test_each_cluster_file_has_a_broken_twin() -> None:
    stems = {path.stem for path in twins()}
    assert {name.removesuffix(".yaml") for name in [*CLUSTERS, "flatcar-workers.yaml"]} <= stems


def test_each_broken_twin_differs_from_its_example() -> None:
    for name in CLUSTERS:
        assert (BROKEN / name).read_bytes() != (EXAMPLES / name).read_bytes()
