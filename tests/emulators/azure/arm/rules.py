"""What the emulator holds to, and who says that the real one does; each rule has a test of its name.

`docs:` is https://learn.microsoft.com/azure/, `rest:` https://learn.microsoft.com/rest/api/, `specs:` a path in
Azure/azure-rest-api-specs, `issue:` a public report that quotes the service's answer. `sdk:` the docstring or model
of the official Python SDK. Facts only; words of messages are shortened.
"""

from __future__ import annotations

_ASYNC = "docs:azure-resource-manager/management/async-operations"
_DEPLOY = "docs:azure-resource-manager/troubleshooting/common-deployment-errors"
_RPC = "Azure/azure-resource-manager-rpc v1.0/"
_SPEC = "specs:specification"
_VM = f"{_SPEC}/compute/resource-manager/Microsoft.Compute/ComputeRP"
_NET = f"{_SPEC}/network/resource-manager/Microsoft.Network"

RULES = {
    # ---- the manager
    "error-envelope": (
        "Errors are {error: {code, message, target, details}}.",
        f"{_RPC}common-api-details.md",
    ),
    "api-version": ("Every request names an api-version.", f"{_DEPLOY} (InvalidApiVersionParameter)"),
    "subscription": ("An unknown subscription is SubscriptionNotFound.", _DEPLOY),
    "ids-case": ("Ids are compared without case and kept as written first.", f"{_RPC}common-api-details.md"),
    "unknown-type": ("InvalidResourceNamespace and InvalidResourceType, 404.", _DEPLOY),
    "delete-absent": ("DELETE of what is not there is 204.", f"{_RPC}resource-api-reference.md"),
    "existence": ("HEAD is 204 or 404.", "rest:resources/resources/check-existence-by-id"),
    "operation-status": (
        "201 with Azure-AsyncOperation; its status InProgress, then Succeeded or Failed.",
        _ASYNC,
    ),
    "operation-fails": (
        "What was accepted may fail: a 200 that says Failed, with a code.",
        f"{_ASYNC}; issue:hashicorp/terraform-provider-azurerm#815",
    ),
    "operation-location": ("202 with Location, asked until it is no longer 202.", _ASYNC),
    "accepted": (
        "A new storage account is 202 with Location and no body.",
        f"{_SPEC}/storage/resource-manager/Microsoft.Storage (StorageAccounts_Create, 202)",
    ),
    "another-operation": (
        "A second change of a network resource meanwhile: AnotherOperationInProgress.",
        _DEPLOY,
    ),
    "etag": ("If-Match and If-None-Match decide, 412 PreconditionFailed.", f"{_RPC}common-api-details.md"),
    "paging": ("Lists come in pages, nextLink leads on.", f"{_RPC}common-api-details.md"),
    "validation": (
        "Unknown, read-only, missing and wrongly typed fields are refused by name.",
        f"{_DEPLOY} (InvalidRequestContent); sdk: models' fields and visibility",
    ),
    "tags": (
        "At most 50; names without <>%&\\?/ and up to 512, values up to 256 characters.",
        "docs:azure-resource-manager/management/tag-resources (limitations)",
    ),
    "locations": ("Places with zones and pairs.", "rest:resources/subscriptions/list-locations"),
    "location": (
        "A location is wanted, known, and kept.",
        f"{_DEPLOY} (LocationRequired, InvalidResourceLocation)",
    ),
    "registration": (
        "A namespace is registered first: MissingSubscriptionRegistration.",
        "docs:azure-resource-manager/troubleshooting/error-register-resource-provider",
    ),
    "policies": (
        "What a policy of the subscription's denies is RequestDisallowedByPolicy.",
        "docs:governance/policy/concepts/effect-deny; Azure/Azure-Landing-Zones-Library (archetype landing_zones: "
        "Deny-IP-forwarding, Deny-Subnet-Without-Nsg, Enforce-Subnet-Private)",
    ),
    "patch": ("PATCH replaces tags and changes what it names.", f"{_RPC}resource-api-reference.md"),
    "group-required": ("A resource's group exists: ResourceGroupNotFound.", _DEPLOY),
    "group-cascade": (
        "A group goes with all that is in it, after a while.",
        "docs:azure-resource-manager/management/delete-resource-group",
    ),
    "group-deleting": ("Nothing is made in a group that goes: ResourceGroupBeingDeleted.", _DEPLOY),
    "group-blocked": (
        "What another group uses stays: ResourceGroupDeletionBlocked.",
        "docs:azure-resource-manager/management/delete-resource-group",
    ),
    "resources-filter": (
        "eq on resourceType, location, name; tags apart from all else.",
        "sdk:azure.mgmt.resource resources.list, filter",
    ),
    "resources-by-tag": (
        "A list by tag does not show tags.",
        "sdk:azure.mgmt.resource resources.list, filter",
    ),
    "throttling": (
        "Buckets of 250 reads, 200 writes, 200 deletes; 429 with Retry-After; what remains in headers.",
        "docs:azure-resource-manager/management/request-limits-and-throttling",
    ),
    # ---- who
    "token": (
        "Wrong tenant AADSTS90002, client AADSTS700016, secret AADSTS7000215.",
        "docs: entra/identity-platform/reference-error-codes",
    ),
    "certificate": (
        "A client assertion signed with the registered certificate.",
        "docs: entra/identity-platform/certificate-credentials",
    ),
    "federation": (
        "A federated token as client assertion.",
        "docs: entra/workload-id/workload-identity-federation",
    ),
    "managed-identity": (
        "169.254.169.254's token endpoint, with the header Metadata.",
        "docs: entra/identity/managed-identities-azure-resources/how-to-use-vm-token",
    ),
    "authentication": ("No or a false token: 401.", f"{_RPC}authentication.md"),
    "authorization": (
        "AuthorizationFailed names action and scope; a role's actions and notActions decide.",
        "docs:role-based-access-control/role-definitions; troubleshooting",
    ),
    "linked-authorization": (
        "Who refers to a subnet needs its join/action.",
        "docs:role-based-access-control/resource-provider-operations (…/join/action)",
    ),
    "permissions": (
        "What the caller may do can be asked, of a group that is there.",
        "rest:authorization/permissions",
    ),
    "scopes": (
        "A role holds at its scope and below.",
        "docs:role-based-access-control/scope-overview",
    ),
    "role-assignments": (
        "A name that is a UUID, a role that exists, RoleAssignmentExists.",
        "rest:authorization/role-assignments/create; docs:role-based-access-control/troubleshooting",
    ),
    "built-in-roles": (
        "Built-in roles by their published ids.",
        "docs:role-based-access-control/built-in-roles",
    ),
    "identities": (
        "User assigned identities have a principal and a client.",
        f"{_SPEC}/msi/resource-manager/Microsoft.ManagedIdentity",
    ),
    # ---- networks
    "references": (
        "What is referred to exists, in the same region: InvalidResourceReference.",
        "issue:kubernetes-sigs/cluster-api-provider-azure#172; issue:dmauser/opnazure#5",
    ),
    "not-provisioned": (
        "…and is provisioned, neither under way nor Failed: 429 RetryableError.",
        "issue:hashicorp/terraform#7986; docs:networking/troubleshoot-failed-state",
    ),
    "subnet-in-use": ("InUseSubnetCannotBeDeleted.", "issue:kubernetes-sigs/cluster-api-provider-azure#172"),
    "subnet-kept": (
        "A network written without subnets keeps them; with a list it has these.",
        "docs:virtual-network/manage-virtual-network (subnets property)",
    ),
    "subnet-ranges": ("Subnets lie in the network and do not overlap.", f"{_NET} (NetcfgInvalidSubnet)"),
    "subnet-reserved": (
        "The first four addresses and the last are Azure's.",
        "docs:virtual-network/virtual-networks-faq",
    ),
    "interface-in-use": ("NicInUse.", "docs:virtual-network/virtual-network-network-interface (delete)"),
    "address-in-use": (
        "PublicIPAddressCannotBeDeleted, PublicIPAddressInUse.",
        "docs:virtual-network/ip-services/virtual-network-public-ip-address",
    ),
    "address-standard": (
        "A Standard address is Static.",
        "docs:virtual-network/ip-services/public-ip-addresses",
    ),
    "dns-label": (
        "A label once per region.",
        "docs:virtual-network/ip-services/public-ip-addresses (domain name label)",
    ),
    "dns-label-reserved": (
        "DomainNameLabelReserved for a label with a trademark in it.",
        "issue:Azure/terraform-azurerm-compute#4, AzureCosmosDB/OmniVec#161 (messages); "
        "docs:azure-resource-manager/troubleshooting/error-reserved-resource-name",
    ),
    "group-in-use": (
        "InUseNetworkSecurityGroupCannotBeDeleted.",
        "docs:virtual-network/manage-network-security-group",
    ),
    "security-rules": (
        "Priorities 100 to 4096, once per direction.",
        "docs:virtual-network/network-security-groups-overview",
    ),
    "balancer-sku": (
        "Load balancer and address are of the same SKU, which stays.",
        "docs:load-balancer/skus",
    ),
    "balancer-front": ("A front has an address, a prefix or a subnet.", f"{_NET} loadBalancer"),
    "balancer-rules": (
        "Rules refer to the balancer's own parts; front, protocol and port once; pool, protocol and port once.",
        f"{_NET} loadBalancer",
    ),
    "balancer-pool": ("A pool that interfaces are in stays.", f"{_NET} loadBalancer"),
    "parts": (
        "Subnets, rules and pools have ids of their own.",
        f"{_NET} (Subnets_CreateOrUpdate, SecurityRules_…)",
    ),
    "outbound": (
        "A machine's way out is a NAT gateway, an own address, or a load balancer's rule; nothing else.",
        "docs:virtual-network/ip-services/default-outbound-access; load-balancer/load-balancer-outbound-connections",
    ),
    "behind": (
        "A rule leads from front and port to the pool's machines that are open to clients and to the probe.",
        "docs:load-balancer/load-balancer-custom-probe-overview; load-balancer/backend-pool-management",
    ),
    "inbound": (
        "What is Standard is closed until a security group opens it; rules by priority, then the default ones.",
        "docs:virtual-network/network-security-groups-overview (default rules); load-balancer/skus (secure by default)",
    ),
    # ---- machines
    "sizes-are-data": (
        "Sizes are what resource SKUs list, not the enumeration.",
        "rest:compute/resource-skus/list",
    ),
    "sku-not-available": (
        "SkuNotAvailable by region, zone or subscription.",
        "docs:azure-resource-manager/troubleshooting/error-sku-not-available",
    ),
    "zones": ("Zones 1 to 3 where a region has them.", "docs:reliability/availability-zones-overview"),
    "quota": (
        "OperationNotAllowed says limit, usage and what is wanted.",
        "docs:azure-resource-manager/troubleshooting/error-resource-quota",
    ),
    "image": (
        "PlatformImageNotFound; latest is the newest in the region.",
        "docs:virtual-machines/linux/cli-ps-findimage",
    ),
    "plan": (
        "An image with a plan wants the plan and accepted terms.",
        "docs:virtual-machines/linux/cli-ps-findimage (purchase plan); rest:marketplaceordering",
    ),
    "gallery": ("Images of a community gallery.", "docs:virtual-machines/share-gallery-community"),
    "architecture": ("Arm64 sizes boot Arm64 images: BadRequest.", "issue:Azure/azure-cli-extensions#5826"),
    "disk-controller": (
        "Of several the size's first is taken; it is one that the image is tagged with, else SCSI: InvalidParameter.",
        "docs:virtual-machines/enable-nvme-remote-faqs; issue:kubernetes-sigs/image-builder#1875, "
        "Azure/FederalAVD#20, fortinet/azure-templates#76",
    ),
    "generation": ("Gen2 sizes boot Gen2 images: BadRequest.", "docs:virtual-machines/generation-2"),
    "trusted-launch": ("Gen2 and a size that has it.", "docs:virtual-machines/trusted-launch"),
    "ultra-disk": (
        "An Ultra disk wants additionalCapabilities.ultraSSDEnabled.",
        "docs:virtual-machines/disks-enable-ultra-ssd; sdk:AdditionalCapabilities.ultra_ssd_enabled",
    ),
    "custom-data": (
        "Base64 of at most 87,380 characters (65,535 bytes), never shown again.",
        "docs:virtual-machines/custom-data; sdk:OSProfile.custom_data",
    ),
    "login": (
        "A key at its default path or a password; some names are forbidden.",
        "sdk:OSProfile.admin_username, SshPublicKey.path; docs:virtual-machines/linux/faq",
    ),
    "vm-immutable": (
        "PropertyChangeNotAllowed.",
        "issue:Azure/azure-sdk-for-java#1976; issue:Azure/azure-powershell#7621",
    ),
    "vm-again": (
        "The same PUT again changes nothing.",
        f"{_RPC}resource-api-reference.md (PUT is idempotent)",
    ),
    "delete-option": (
        "Delete or Detach for interfaces, disks and addresses.",
        "docs:virtual-machines/delete",
    ),
    "implicit-disks": (
        "A machine's own disks have its tags at creation.",
        "issue:hashicorp/terraform-provider-azurerm#8162",
    ),
    "instance-view": ("Power and provisioning as statuses.", "docs:virtual-machines/states-billing"),
    "failed-update": (
        "A change that fails leaves a running machine Failed, and running.",
        "docs:virtual-machines/states-billing (provisioning states: of the last operation); "
        "issue:kubernetes-sigs/azuredisk-csi-driver#797, kubernetes-sigs/cluster-api-provider-azure#1037",
    ),
    "power": ("start, restart, powerOff, deallocate.", f"{_VM} virtualMachine"),
    "boot-diagnostics": (
        "The console at a signed URL, if switched on.",
        "rest:compute/virtual-machines/retrieve-boot-diagnostics-data",
    ),
    "capacity": (
        "Accepted, then Failed with AllocationFailed.",
        "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/allocation-failure",
    ),
    "marked": (
        "A machine that is being deleted takes no other order.",
        "issue:sassoftware/viya4-iac-azure#140",
    ),
    "disk-in-use": ("An attached disk stays.", "docs:virtual-machines/disks-find-unattached-portal"),
    # ---- storage
    "account-name": (
        "3 to 24 small letters and digits, once in the world.",
        "docs:azure-resource-manager/troubleshooting/error-storage-account-name",
    ),
    "account-keys": ("Keys by listKeys.", "rest:storagerp/storage-accounts/list-keys"),
}
