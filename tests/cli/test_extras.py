"""The user's own Butane and Ignition, and pasted fragments, with mistakes in them: `plan` says where, and exits 2."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

CLUSTER = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {name: x}
spec:
  cloud: {sim: {as: aws}}
  ignition:
    all: [{file: mine.bu}, {file: none.bu}]
    workers:
      - |
        {"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "etc/x"}]}}
"""


def test_every_mistake_in_every_config_is_told_at_once(flatyard, tmp_path, monkeypatch):
    """The sysext guide's own Butane with a unit that is no unit, a file that is not there, Ignition inline."""
    text = (EXAMPLES / "kubernetes-sysext.bu").read_text()
    (tmp_path / "mine.bu").write_text(text.replace("locksmithd.service", "locksmithd.sevrice"))
    (tmp_path / "c.yaml").write_text(CLUSTER)
    monkeypatch.chdir(tmp_path)
    result = flatyard("plan", "c.yaml")
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if "error: " in line] == [
        "c.yaml:7:35: error: spec.ignition.all[1].file: the file cannot be read: No such file or directory",
        "c.yaml:9:9: error: spec.ignition.workers[0]: $.storage.files.0.path: path not absolute",
        "mine.bu:32:13: error: $.systemd.units.2.name: invalid systemd unit extension",
        "error: 3 errors in the input",
    ]


def test_the_examples_own_configs_are_accepted_as_they_are(flatyard, tmp_path, monkeypatch):
    for name in ("kubernetes-sysext.bu", "custom.ign"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    files = "all: [{file: kubernetes-sysext.bu}, {file: custom.ign}]"
    (tmp_path / "c.yaml").write_text(CLUSTER.split("    all:", maxsplit=1)[0] + f"    {files}\n")
    monkeypatch.chdir(tmp_path)
    result = flatyard("plan", "c.yaml")
    assert result.exit_code == 4, result.stderr
    assert "error" not in result.stderr


BROKEN = {
    "snippet-aws.yaml": ('instanceType: "t3.medium"', 'instanceTyp: "t3.medium"'),
    "snippet-azure.yaml": ('sku: "stable"', 'sku: ["stable"]'),
    "snippet-custom-ignition.yaml": ('"path": "/etc/custom-config"', '"path": "etc/custom-config"'),
    "snippet-gce.yaml": ("customImage:", "customImage: {a: b}\n  old:"),
    "snippet-ignition.yaml": ('provisioningUtility: "ignition"', 'provisioningUtility: "ignitio"'),
    "snippet-no-updates.yaml": ("disableAutoUpdate: true", "disableAutoUpdate: perhaps"),
    "snippet-openstack.yaml": ('image: "flatcar-stable"', "image: [flatcar-stable]"),
    "snippet-os.yaml": ('operatingSystem: "flatcar"', 'operatingSystem: "flatcr"'),
    "snippet-ssh.yaml": ('- "ssh-rsa AAAAB3NzaC1yc2E..."', "- {ssh: rsa}"),
    "snippet-vsphere.yaml": ('templateVMName: "flatcar-stable-template"', "templateVMName: [a]"),
}
PROVIDERS = {"azure": "azure", "gce": "gce", "openstack": "openstack", "vsphere": "vsphere"}
TWINS = {"gce": "gcp"}
MACHINES = {"aws": "{instanceType: t3.medium}"}


def pasted(name: str) -> str:
    """A cluster and a pool with the broken fragment in its place, as text, so that lines count."""
    old, new = BROKEN[name]
    fragment = (EXAMPLES / name).read_text()
    assert old in fragment
    fragment = fragment.replace(old, new)
    provider = PROVIDERS.get(name.removeprefix("snippet-").removesuffix(".yaml"), "aws")
    if fragment.startswith("spec:"):
        fragment = "".join(line.removeprefix("          ") for line in fragment.splitlines(True)[5:])
    for key, value in (("cloudProviderSpec", MACHINES.get(provider, "{}")), ("operatingSystem", "flatcar")):
        if not re.search(rf"^{key}:", fragment, re.MULTILINE):
            fragment += f"{key}: {value}\n"
    inside = "".join(f"          {line}" for line in fragment.splitlines(True))
    plane = ", controlPlane: {machine: {flavor: m3.small}}" if provider == "openstack" else ""
    return f"""\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {{name: x}}
spec: {{cloud: {{sim: {{as: {TWINS.get(provider, provider)}}}}}{plane}}}
---
apiVersion: cluster.k8s.io/v1alpha1
kind: MachineDeployment
metadata: {{name: pool, namespace: kube-system}}
spec:
  selector: {{matchLabels: {{a: b}}}}
  template:
    metadata: {{labels: {{a: b}}}}
    spec:
      versions: {{kubelet: v1.34.3}}
      providerSpec:
        value:
          cloudProvider: {provider}
{inside}"""


def test_every_fragment_has_a_broken_twin():
    assert {p.name for p in EXAMPLES.glob("snippet-*.yaml")} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_fragment_is_told_at_its_line(flatyard, tmp_path, monkeypatch, name):
    (tmp_path / "x.yaml").write_text(pasted(name))
    monkeypatch.chdir(tmp_path)
    result = flatyard("plan", "x.yaml")
    told = "".join(
        f"{line}\n" for line in result.stderr.splitlines() if ": error: " in line or ": warning: " in line
    )
    golden = Path(__file__).parent / "golden" / f"{name.removesuffix('.yaml')}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(told)
    assert told == golden.read_text()
    assert "Traceback" not in result.stderr
    assert result.exit_code == 2
