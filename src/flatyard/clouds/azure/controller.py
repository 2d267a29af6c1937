"""What Azure's cloud controller manager and disk driver read: azure.json, and the Helm values that Flatcar needs.

Source: cloud-provider-azure's page on its configuration file, and CAPZ's templates for Flatcar. The file belongs to
/etc/kubernetes/azure.json on every machine, mode 0600: the engine puts it there by a file of the node's extras when
the cluster runs an external controller (`NodeTraits.external_cloud_provider`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from flatyard.clouds.azure.reading import last, segment
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.clouds.cloud import ClusterRef, Network, Role

PATH = "/etc/kubernetes/azure.json"
CA_CERT_DIR = "/usr/share/ca-certificates"
"""Flatcar's certificates; below the chart's default, /etc/ssl, there are only links into it."""


def azure_json(
    place: AzureSettings, ref: ClusterRef, network: Network, *, identity_client_id: str = ""
) -> str:
    """The file's text, the same each time. It holds no secret: machines act by their managed identity.

    `identity_client_id`: of the user-assigned identity that they have; empty: the machine's own.
    """
    group = place.group_for(ref)
    guard = network.security_groups.get(Role.WORKER.value, "")
    content: dict[str, object] = {
        "cloud": place.environment,
        "tenantId": place.tenant,
        "subscriptionId": place.subscription,
        "resourceGroup": group,
        "location": place.location,
        "vmType": "standard",
        "vnetName": last(network.id),
        "vnetResourceGroup": segment(network.id, "resourceGroups") or group,
        "subnetName": last(network.subnets[-1]),
        "securityGroupName": last(guard),
        "securityGroupResourceGroup": segment(guard, "resourceGroups") or group,
        "routeTableName": next((m.route_table_name.value for m in place.machines if m.route_table_name), ""),
        "loadBalancerSku": "standard",
        "loadBalancerName": "",
        "maximumLoadBalancerRuleCount": 250,
        "disableOutboundSNAT": not network.adopted,
        "useInstanceMetadata": True,
        "useManagedIdentityExtension": True,
        "userAssignedIdentityID": identity_client_id,
    }
    return json.dumps(content, indent=2) + "\n"


def values(ref: ClusterRef) -> Mapping[str, Mapping[str, object]]:
    """Values of the chart cloud-provider-azure that are right on Flatcar with a cluster of ours."""
    return {
        "infra": {"clusterName": ref.name},
        "cloudControllerManager": {
            "caCertDir": CA_CERT_DIR,
            "cloudConfig": PATH,
            "allocateNodeCidrs": "false",
            "configureCloudRoutes": "false",
        },
        "cloudNodeManager": {"waitRoutes": "false"},
    }
