"""The lives of Azure's example files (life.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from emulators.life import Example, Life, kubernetes_is_baked_in, lives_and_leaves_nothing
from emulators.stage import Stage

pytestmark = [pytest.mark.emulated, pytest.mark.slow, pytest.mark.timeout(900)]
AZURE_JSON = "/etc/kubernetes/azure.json"


def azure_json_names_what_there_is(life: Life) -> None:
    """Every machine has the file of Azure's own controllers, and what it names is there."""
    files, there = life.files(), [one.lower() for one in life.inventory()["resources"]]
    machines = {id.rpartition("/")[2] for id in life.inventory()["instances"]}
    assert machines <= set(files)
    ((mode, text),) = {tuple(files[name][AZURE_JSON]) for name in machines}
    assert mode == 0o600
    said = json.loads(text)
    subscription = f"/subscriptions/{life.environment['AZURE_SUBSCRIPTION_ID']}"
    assert (said["subscriptionId"], said["tenantId"]) == (
        life.environment["AZURE_SUBSCRIPTION_ID"],
        life.environment["AZURE_TENANT_ID"],
    )
    assert said["location"] == life.example.place.split()[1]
    for group, kind, name in (
        (said["vnetResourceGroup"], "virtualNetworks", said["vnetName"]),
        (said["securityGroupResourceGroup"], "networkSecurityGroups", said["securityGroupName"]),
    ):
        wanted = f"{subscription}/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}"
        assert wanted.lower() in there
    assert said["resourceGroup"] == life.example.name and said["subnetName"] == "worker"


def start_azure(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    from emulators.azure.place import start

    arm = start(stage, blobs=True)
    return {**arm.environment, "ROOM_SHOWS": AZURE_JSON}


EXAMPLES = (
    Example(
        "azure",
        "azure-sysext.yaml",
        "prod",
        "azure germanywestcentral",
        3,
        2,
        "general",
        start_azure,
        (("7d3c5a52-6a2f-4d1b-9b8e-0f4a1c2e6b90", "11111111-1111-1111-1111-111111111111"),),
        looks=(azure_json_names_what_there_is,),
        killed="down",
    ),
    Example(
        "azure",
        "azure-image.yaml",
        "baked",
        "azure westeurope",
        1,
        2,
        "general",
        start_azure,
        (("7d3c5a52-6a2f-4d1b-9b8e-0f4a1c2e6b90", "11111111-1111-1111-1111-111111111111"),),
        flavor="image",
        looks=(azure_json_names_what_there_is, kubernetes_is_baked_in),
    ),
)


@pytest.mark.parametrize("life", EXAMPLES, ids=lambda example: example.key, indirect=True)
def test_a_cluster_lives_and_leaves_nothing(life: Life):
    lives_and_leaves_nothing(life)
