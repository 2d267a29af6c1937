"""azure.json as the cloud controller manager reads it, and its chart's values on Flatcar."""

from __future__ import annotations

from dataclasses import replace

from flatyard.clouds.azure.controller import CA_CERT_DIR, azure_json, values
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.clouds.cloud import ClusterRef, Network

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
  "userAssignedIdentityID": "CLIENT"
}
"""


def test_azure_json_is_what_the_controller_manager_reads() -> None:
    assert azure_json(PLACE, REF, NETWORK, identity_client_id="CLIENT") == GOLDEN


def test_a_given_network_in_another_group_is_found_by_the_controller_manager() -> None:
    elsewhere = replace(NETWORK, id=NETWORK.id.replace("flatyard-prod-aaaaaaaa", "shared"), adopted=True)
    said = azure_json(replace(PLACE, group="mine"), REF, elsewhere)
    assert '"vnetResourceGroup": "shared"' in said and '"resourceGroup": "mine"' in said
    assert '"disableOutboundSNAT": false' in said


def test_the_chart_finds_flatcars_certificates() -> None:
    assert values(REF)["cloudControllerManager"]["caCertDir"] == CA_CERT_DIR == "/usr/share/ca-certificates"
