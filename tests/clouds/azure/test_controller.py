"""azure.json as the cloud controller manager reads it, and its chart's values on Flatcar."""

from __future__ import annotations

import json
from dataclasses import replace

from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.client import AzureClients
from flatyard.clouds.azure.controller import CA_CERT_DIR, azure_json, node_file, values
from flatyard.clouds.azure.credentials import credential
from flatyard.clouds.azure.identities import KIND
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.clouds.cloud import ClusterRef, Network
from flatyard.decode.types import ConfigVar
from flatyard.model.machines import AzureMachine

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
PLACE = AzureSettings(location="westeurope", subscription="SUB", tenant="TEN")
GROUP = "/subscriptions/SUB/resourceGroups/flatyard-prod-aaaaaaaa/providers/Microsoft.Network"
NETWORK = Network(
    f"{GROUP}/virtualNetworks/net",
    (f"{GROUP}/virtualNetworks/net/subnets/control-plane", f"{GROUP}/virtualNetworks/net/subnets/worker"),
    {"worker": f"{GROUP}/networkSecurityGroups/guard"},
    ("1", "2", "3"),
    "10.0.0.0/16",
)
IDENTITY = "/subscriptions/S/of-the-machines"
GOLDEN = """\
{
  "cloud": "AzurePublicCloud",
  "tenantId": "TEN",
  "subscriptionId": "SUB",
  "resourceGroup": "flatyard-prod-aaaaaaaa",
  "location": "westeurope",
  "vmType": "standard",
  "vnetName": "net",
  "vnetResourceGroup": "flatyard-prod-aaaaaaaa",
  "subnetName": "worker",
  "securityGroupName": "guard",
  "securityGroupResourceGroup": "flatyard-prod-aaaaaaaa",
  "routeTableName": "",
  "loadBalancerSku": "standard",
  "loadBalancerName": "",
  "maximumLoadBalancerRuleCount": 250,
  "disableOutboundSNAT": true,
  "useInstanceMetadata": true,
  "useManagedIdentityExtension": true,
  "userAssignedIdentityID": "/subscriptions/S/of-the-machines",
  "tagsMap": {
    "flatyard-cluster": "01JGFJJZ00AAAAAAAAAAAAAAAA",
    "flatyard-owned": "true"
  }
}
"""


def test_azure_json_is_what_the_controller_manager_reads() -> None:
    assert azure_json(PLACE, REF, NETWORK, identity=IDENTITY) == GOLDEN


def test_a_given_network_in_another_group_is_found_by_the_controller_manager() -> None:
    elsewhere = replace(NETWORK, id=NETWORK.id.replace("flatyard-prod-aaaaaaaa", "shared"), adopted=True)
    said = azure_json(replace(PLACE, group="mine"), REF, elsewhere)
    assert '"vnetResourceGroup": "shared"' in said and '"resourceGroup": "mine"' in said
    assert '"disableOutboundSNAT": false' in said


def test_workers_own_security_group_is_the_one_that_services_are_opened_in() -> None:
    plain = AzureMachine()
    own = AzureMachine(security_group_name=ConfigVar("mine"), vnet_resource_group=ConfigVar("hub"))
    said = azure_json(replace(PLACE, machines=(plain, plain, own)), REF, NETWORK)
    assert '"securityGroupName": "mine"' in said and '"securityGroupResourceGroup": "hub"' in said
    assert "tagsMap" not in said, (
        "the controller tags the security group that it uses, and what has our tags is deleted"
    )
    planes_only = azure_json(replace(PLACE, machines=(own, plain)), REF, NETWORK)
    assert '"securityGroupName": "guard"' in planes_only


def test_every_machine_gets_the_file_with_the_identity_that_machines_of_the_cluster_have() -> None:
    place = replace(PLACE, external=True)
    account = Account(
        place, AzureClients(place, credential(place, {})), SeededWorld(1, lambda: 0.0, SIMULATED_EPOCH)
    )
    made = node_file(account, REF, NETWORK)
    assert (made.path, made.mode) == ("/etc/kubernetes/azure.json", 0o600)
    wanted = place.id("flatyard-prod-aaaaaaaa", KIND, "flatyard-prod-aaaaaaaa-machines")
    assert json.loads(made.text)["userAssignedIdentityID"] == wanted
    assert node_file(account, REF, NETWORK) == made


def test_the_chart_finds_flatcars_certificates() -> None:
    assert (
        values("prod", "10.244.0.0/16")["cloudControllerManager"]["caCertDir"]
        == CA_CERT_DIR
        == "/usr/share/ca-certificates"
    )
