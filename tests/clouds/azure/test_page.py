"""What docs/azure.md tells users to do about Azure's own controller is what our data says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from flatyard.clouds.azure.controller import values
from flatyard.clouds.azure.settings import settings
from flatyard.model.cluster import Addon, Cluster
from flatyard.model.documents import read

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/azure.md").read_text()
TASK = PAGE.partition("## The cloud controller manager\n")[2].partition("\n## ")[0]
CHART = {
    "infra": {"clusterName"},
    "cloudControllerManager": {
        *("caCertDir", "cloudConfig", "clusterCIDR", "allocateNodeCidrs", "configureCloudRoutes"),
        *("enabled", "replicas", "logVerbosity", "federatedTokenPath", "nodeSelector", "tolerations"),
    },
    "cloudNodeManager": {"enabled", "cloudConfig", "waitRoutes", "useInstanceMetadata", "logVerbosity"},
}
"""Values that the chart's template reads (cloud-provider-azure, helm/cloud-provider-azure, August 2026)."""


def example() -> Cluster:
    file = ROOT / "examples/azure-sysext.yaml"
    found = read([(file.name, file.read_text())]).cluster
    assert found is not None
    return found


def plain(found: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {name: dict(part) for name, part in found.items()}


def block(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", TASK, re.MULTILINE | re.DOTALL)
    return str(found)


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_pages_commands_give_the_chart_our_values(tmp_path: Path) -> None:
    """With stand-ins for helm and flatyard, which tell what they were given."""
    program(tmp_path, "flatyard", '[ "$*" = "kubeconfig prod" ] && echo /state/kubeconfig')
    program(tmp_path, "helm", 'printf "%s\\n" "$@" > said')
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-ec", block("sh")], check=False, cwd=tmp_path, env={"PATH": path})
    assert done.returncode == 0
    said = (tmp_path / "said").read_text().split()
    assert said[:4] == ["upgrade", "--install", "cloud-provider-azure", "cloud-provider-azure"]
    assert said[said.index("--kubeconfig") + 1] == "/state/kubeconfig"
    given = yaml.safe_load((tmp_path / said[said.index("--values") + 1]).read_text())
    cluster = example()
    assert given == plain(values(cluster.name, cluster.spec.network.pods))


def test_the_chart_knows_the_values_and_takes_its_switches_as_text() -> None:
    given = plain(values("prod", "10.244.0.0/16"))
    assert all(set(part) <= CHART[name] for name, part in given.items())
    assert all(isinstance(value, str) for part in given.values() for value in part.values())
    assert json.dumps(given).count("/usr/share/ca-certificates") == 1


def test_the_pages_addon_makes_machines_wait_for_the_controller() -> None:
    (named,) = yaml.safe_load(block("yaml"))["spec"]["addons"]
    cluster = example()
    wanted = replace(cluster, spec=replace(cluster.spec, addons=(Addon(**named),)))
    assert settings(wanted, {}).external and not settings(cluster, {}).external
