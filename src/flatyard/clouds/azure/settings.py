"""What of the Cluster and the environment decides which subscription, group and network an Azure cluster lives in.

Names of variables are azure-identity's, Azure Stack's (AZURE_RESOURCE_MANAGER_ENDPOINT) and the az command's
(~/.azure, AZURE_CONFIG_DIR).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flatyard.base.errors import Refused
from flatyard.clouds.cloud import ClusterRef, NoAccount
from flatyard.clouds.naming import group_of
from flatyard.decode.types import ConfigVar
from flatyard.model.cluster import AzureCloud, Cluster
from flatyard.model.machines import AzureMachine
from flatyard.model.meant import is_placeholder

ACCEPT_TERMS = "flatyard.dev/azure-accept-terms"
"""Annotation of the Cluster: `publisher:offer:plan`, several with commas; the user has read these terms."""
IDENTITY = "flatyard.dev/azure-identity"
"""Annotation of the Cluster: resource id of the user-assigned identity that its machines get."""
CONTROLLER_ADDONS = ("cloud-provider-azure", "azure-cloud-provider", "cloud-controller-manager")
"""Add-ons that run Azure's cloud controller manager."""


@dataclass(frozen=True, slots=True)
class Sovereign:
    """One of Azure's clouds: where its APIs are."""

    manager: str
    authority: str
    storage: str


SOVEREIGN: Mapping[str, Sovereign] = {
    "AzurePublicCloud": Sovereign(
        "https://management.azure.com", "https://login.microsoftonline.com", "core.windows.net"
    ),
    "AzureChinaCloud": Sovereign(
        "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn", "core.chinacloudapi.cn"
    ),
    "AzureUSGovernment": Sovereign(
        "https://management.usgovcloudapi.net", "https://login.microsoftonline.us", "core.usgovcloudapi.net"
    ),
}
_SHORT = {"AzureCloud": "AzurePublicCloud", "AzurePublicCloud": "AzurePublicCloud"}


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """`group`, `vnet` and `subnet` are empty where flatyard makes its own. `ca`: a file of further authorities.

    `own_endpoint`: the API is not one of Microsoft's public ones, so that its authority is taken as it is named.
    """

    location: str
    subscription: str
    tenant: str = ""
    group: str = ""
    vnet: str = ""
    vnet_group: str = ""
    subnet: str = ""
    zones: tuple[str, ...] = ()
    environment: str = "AzurePublicCloud"
    manager: str = SOVEREIGN["AzurePublicCloud"].manager
    authority: str = SOVEREIGN["AzurePublicCloud"].authority
    own_endpoint: bool = False
    ca: str = ""
    accepted: tuple[str, ...] = ()
    identity: str = ""
    external: bool = False
    """Whether the cluster runs Azure's cloud controller manager."""
    machines: tuple[AzureMachine, ...] = field(default=(), repr=False)

    def group_for(self, ref: ClusterRef) -> str:
        """The resource group of a cluster: the given one, or one of its own that no other cluster can have."""
        return self.group or f"{group_of(ref)[:70]}-{tail(ref)}"

    def group_id(self, group: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}"

    def id(self, group: str, kind: str, name: str) -> str:
        """A resource id; `kind` as in Microsoft.Network/networkInterfaces."""
        return f"{self.group_id(group)}/providers/{kind}/{name}"


def tail(ref: ClusterRef) -> str:
    """The random end of a cluster's id, which keeps names apart that people chose alike."""
    return ref.id[-8:].lower()


def settings(cluster: Cluster, environment: Mapping[str, str]) -> AzureSettings:
    """Raises NoAccount when no subscription is named anywhere, Refused for an unknown one of Azure's clouds."""
    cloud = cluster.spec.cloud.azure or AzureCloud(location="")
    machines = _machines(cluster)
    name = environment.get("AZURE_ENVIRONMENT") or environment.get("AZURE_CLOUD") or "AzurePublicCloud"
    place = SOVEREIGN.get(_SHORT.get(name, name))
    if place is None:
        raise Refused(
            f"AZURE_ENVIRONMENT={name} is none of Azure's clouds", next=f"one of {', '.join(SOVEREIGN)}"
        )
    manager = environment.get("AZURE_RESOURCE_MANAGER_ENDPOINT", "").rstrip("/")
    group = cloud.resource_group or _first(machines, "resource_group")
    annotations = cluster.metadata.annotations
    subscription = _subscription(cloud, machines, environment)
    return AzureSettings(
        location=(cloud.location or _first(machines, "location")).lower().replace(" ", ""),
        subscription=subscription,
        tenant=cloud.tenant_id
        or environment.get("AZURE_TENANT_ID", "")
        or _first(machines, "tenant_id")
        or _tenant_of_az(subscription, environment),
        group=group,
        vnet=cloud.vnet_name or _first(machines, "vnet_name"),
        vnet_group=_first(machines, "vnet_resource_group") or group,
        subnet=cloud.subnet_name or _first(machines, "subnet_name"),
        zones=cloud.zones,
        environment=_SHORT.get(name, name),
        manager=manager or place.manager,
        authority=environment.get("AZURE_AUTHORITY_HOST", "").rstrip("/") or place.authority,
        own_endpoint=bool(manager),
        ca=environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE") or "",
        accepted=tuple(filter(None, map(str.strip, annotations.get(ACCEPT_TERMS, "").split(",")))),
        identity=annotations.get(IDENTITY, ""),
        external=any(a.enabled and a.name in CONTROLLER_ADDONS for a in cluster.spec.addons),
        machines=machines,
    )


def _machines(cluster: Cluster) -> tuple[AzureMachine, ...]:
    """The control plane's first; whoever says nothing of a machine gets the default one."""
    specs = (cluster.spec.control_plane.machine, *(pool.machine for pool in cluster.spec.workers))
    whole = (AzureMachine() if spec is None else spec for spec in specs)
    return tuple(spec for spec in whole if isinstance(spec, AzureMachine))


def _first(machines: tuple[AzureMachine, ...], name: str) -> str:
    """What the first machine spec that says anything says; placeholders say nothing."""
    for machine in machines:
        value: ConfigVar = getattr(machine, name)
        if value.value and not is_placeholder(value.value):
            return value.value
    return ""


def _subscription(
    cloud: AzureCloud, machines: tuple[AzureMachine, ...], environment: Mapping[str, str]
) -> str:
    found = (
        cloud.subscription_id
        or environment.get("AZURE_SUBSCRIPTION_ID", "")
        or _first(machines, "subscription_id")
        or _chosen_by_az(environment)
    )
    if not found:
        raise NoAccount(
            "no Azure subscription is named",
            why="neither spec.cloud.azure.subscriptionID nor AZURE_SUBSCRIPTION_ID is set, and az has no default",
            next="az login, or export AZURE_SUBSCRIPTION_ID=…",
        )
    return found


def _chosen_by_az(environment: Mapping[str, str]) -> str:
    """The default subscription of the az command."""
    return next((s.get("id", "") for s in _known_to_az(environment) if s.get("isDefault")), "")


def _tenant_of_az(subscription: str, environment: Mapping[str, str]) -> str:
    """The tenant of a subscription that the az command knows; empty where it does not."""
    known = _known_to_az(environment)
    return next((s.get("tenantId", "") for s in known if s.get("id", "").lower() == subscription.lower()), "")


def _known_to_az(environment: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """The subscriptions in the az command's profile; what is true there is `True` here."""
    folder = Path(
        environment.get("AZURE_CONFIG_DIR") or Path(environment.get("HOME") or Path.home()) / ".azure"
    )
    try:
        profile = json.loads((folder / "azureProfile.json").read_text(encoding="utf-8-sig"))
        rows = [dict(row) for row in profile["subscriptions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple({str(key): str(value) for key, value in row.items() if value} for row in rows)
