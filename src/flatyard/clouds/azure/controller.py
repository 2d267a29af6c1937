"""What Azure's cloud controller manager and disk drivers read: azure.json, and the Helm values that Flatcar needs.

Source: cloud-provider-azure's page on its configuration file and the types that read it (pkg/provider/config/azure.go,
pkg/azclient), and CAPZ's templates for Flatcar. Every machine of a cluster has the file, whether something reads it or
not, so that a controller or a driver can be installed later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.identities import identity_of
from flatyard.clouds.azure.reading import last, segment
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.clouds.cloud import ClusterRef, Network, Role
from flatyard.clouds.tags import cluster_tags
from flatyard.node.inputs import NodeFile

PATH = "/etc/kubernetes/azure.json"
CA_CERT_DIR = "/usr/share/ca-certificates"
"""Flatcar's certificates; below the chart's default, /etc/ssl, there are only links into it."""


def node_file(account: Account, ref: ClusterRef, network: Network) -> NodeFile:
    """azure.json as every machine of the cluster has it."""
    return NodeFile(PATH, azure_json(account.place, ref, network, identity=identity_of(account, ref)))


def azure_json(place: AzureSettings, ref: ClusterRef, network: Network, *, identity: str = "") -> str:
    """The file's text, the same each time. It holds no secret: machines act by their managed identity.

    `identity`: resource id of the user-assigned identity that they have, which azclient takes as well as a client id;
    empty: the machine's own.

    Load balancers and addresses that the controller makes get the cluster's tags, so that they go with it also when its
    API is gone. Not where its security group is the user's own: that would get the tags too, and go as well.
    """
    group = place.group_for(ref)
    guard, guard_group = _guard(place, group, network)
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
        "securityGroupName": guard,
        "securityGroupResourceGroup": guard_group,
        "routeTableName": next(filter(None, (m.route_table_name.value for m in place.machines)), ""),
        "loadBalancerSku": "standard",
        "loadBalancerName": "",
        "maximumLoadBalancerRuleCount": 250,
        "disableOutboundSNAT": not network.adopted,
        "useInstanceMetadata": True,
        "useManagedIdentityExtension": True,
        "userAssignedIdentityID": identity,
    }
    if guard == last(network.security_groups.get(Role.WORKER.value, "")):
        content["tagsMap"] = cluster_tags(ref, FACTS.tags)
    return json.dumps(content, indent=2) + "\n"


def _guard(place: AzureSettings, group: str, network: Network) -> tuple[str, str]:
    """The workers' security group and its resource group: the user's own where a worker's machine spec names one."""
    for machine in place.machines[1:]:
        if machine.security_group_name.value:
            return machine.security_group_name.value, machine.vnet_resource_group.value or group
    ours = network.security_groups.get(Role.WORKER.value, "")
    return last(ours), segment(ours, "resourceGroups") or group


def values(name: str, pods: str) -> Mapping[str, Mapping[str, str]]:
    """Values of the chart cloud-provider-azure that are right on Flatcar with the cluster of that name.

    Kubernetes itself gives each node its part of `pods`, and the pod network carries it: Azure has no routes for it.
    """
    return {
        "infra": {"clusterName": name},
        "cloudControllerManager": {
            "caCertDir": CA_CERT_DIR,
            "cloudConfig": PATH,
            "clusterCIDR": pods,
            "allocateNodeCidrs": "false",
            "configureCloudRoutes": "false",
        },
        "cloudNodeManager": {"waitRoutes": "false"},
    }
