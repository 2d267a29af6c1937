"""Each contract between the folders is one that can be broken, and says so when it is."""

from __future__ import annotations

import pytest

BREACHES = [
    ("src/flatyard/decode/planted.py", "import flatyard.model", "a folder imports only what stands below it"),
    (
        "src/flatyard/sim/planted.py",
        "import flatyard.clouds.cloud",
        "a folder imports only what stands below",
    ),
    ("src/flatyard/web/planted.py", "import flatyard.cli", "a folder imports only what stands below it"),
    ("src/flatyard/pki/planted.py", "import flatyard.sysext", "a folder imports only what stands below it"),
    ("src/flatyard/clouds/aws/planted.py", "import flatyard.clouds.azure", "clouds do not know each other"),
    (
        "src/flatyard/clouds/sim/planted.py",
        "import flatyard.clouds.aws.cloud",
        "clouds do not know each other",
    ),
    ("src/flatyard/decode/planted.py", "import socket", "do no I/O"),
    ("src/flatyard/model/planted.py", "import subprocess", "do no I/O"),
    ("src/flatyard/butane/planted.py", "import httpx2", "do no I/O"),
    ("src/flatyard/node/planted.py", "import obstore", "do no I/O"),
    ("src/flatyard/engine/plan.py", "import asyncio", "do no I/O"),
    ("src/flatyard/clouds/aws/facts.py", "import boto3", "do no I/O"),
    ("src/flatyard/engine/planted.py", "import boto3", "the AWS SDK stays in clouds/aws"),
    ("src/flatyard/clouds/aws/planted.py", "import azure.identity", "the Azure SDK stays in clouds/azure"),
    ("src/flatyard/kube/planted.py", "import google.auth", "the Google Cloud SDK stays in clouds/gcp"),
    ("src/flatyard/cli/planted.py", "import openstack", "the OpenStack SDK stays in clouds/openstack"),
    ("src/flatyard/sim/planted.py", "import pyVmomi", "the vSphere SDK stays in clouds/vsphere"),
    ("src/flatyard/kube/planted.py", "import cryptography.x509", "keys are made in pki"),
    ("src/flatyard/engine/planted.py", "import obstore", "only store knows buckets"),
    ("src/flatyard/engine/planted.py", "import lightkube", "only kube knows the Kubernetes client"),
    ("src/flatyard/kube/planted.py", "import starlette", "only sim, web and the feed's server serve HTTP"),
    ("src/flatyard/sim/planted.py", "import uvicorn", "only sim, web and the feed's server serve HTTP"),
    ("src/flatyard/engine/planted.py", "import rich", "only cli paints"),
    ("src/flatyard/operate/planted.py", "def lazily() -> None:\n    import click", "only cli paints"),
]

ALLOWED = [
    ("src/flatyard/clouds/sim/planted.py", "import flatyard.clouds.aws.facts"),
    ("src/flatyard/clouds/aws/planted.py", "import boto3"),
    ("src/flatyard/pki/planted.py", "import cryptography.x509"),
    ("src/flatyard/store/planted.py", "import cryptography.fernet\nimport obstore"),
    ("src/flatyard/kube/planted.py", "import lightkube"),
    ("src/flatyard/sim/planted.py", "import starlette"),
    ("src/flatyard/cli/planted.py", "import click\nimport rich\nimport flatyard.controller"),
    ("src/flatyard/clouds/table.py", "import flatyard.clouds.aws"),
]


@pytest.mark.parametrize(("place", "source", "contract"), BREACHES)
def test_breaking_a_contract_fails_and_names_it(checkout, place, source, contract):
    checkout.plant("src/flatyard/clouds/aws/cloud.py", "")
    checkout.plant(place, source)
    done = checkout.check("contracts")
    assert done.returncode == 1
    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(contract in line for line in broken), done.stdout


@pytest.mark.parametrize(
    "back", ["import flatyard.store.lock", "def late() -> None:\n    import flatyard.store.lock"]
)
def test_two_modules_that_import_each_other_fail(checkout, back):
    checkout.plant("src/flatyard/store/lock.py", "import flatyard.store.records")
    checkout.plant("src/flatyard/store/records.py", back)
    done = checkout.check("contracts")
    assert done.returncode == 1
    assert "import each other in no circle BROKEN" in done.stdout


def test_what_the_contracts_allow_passes(checkout):
    for place, source in ALLOWED:
        checkout.plant(place, source)
    done = checkout.check("contracts")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("place", ["helpers", "clouds/oracle"])
def test_a_new_folder_without_a_place_fails(checkout, place):
    checkout.plant(f"src/flatyard/{place}/__init__.py", "")
    done = checkout.check("contracts")
    assert done.returncode == 1
    assert f"flatyard.{place.replace('/', '.')}" in done.stdout
