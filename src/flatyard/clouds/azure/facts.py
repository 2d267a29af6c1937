"""What is true of Azure virtual machines, standard load balancers and Blob storage.

Sources: Azure's documents on naming rules, subscription limits, custom data, common allocation and SKU
errors, load balancer limitations (a backend does not reach its own internal frontend), SAS;
cloud-provider-azure.
"""

from __future__ import annotations

from flatyard.clouds.facts import (
    Behaviour,
    CloudFacts,
    Durations,
    Idempotency,
    ImageSource,
    Login,
    LoginFile,
    NameRule,
    Quotas,
    Refusal,
    Region,
    Retry,
    Size,
    Spell,
    StashRule,
    TagRule,
    Trouble,
    UserDataRule,
    family,
)
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource, StashScheme, UserDataEncoding

_ZONED = (
    "germanywestcentral",
    "westeurope",
    "northeurope",
    "francecentral",
    "swedencentral",
    "uksouth",
    "norwayeast",
    "switzerlandnorth",
    "polandcentral",
    "italynorth",
    "spaincentral",
    "eastus",
    "eastus2",
    "centralus",
    "southcentralus",
    "westus2",
    "westus3",
    "canadacentral",
    "brazilsouth",
    "australiaeast",
    "japaneast",
    "koreacentral",
    "southeastasia",
    "eastasia",
    "centralindia",
    "southafricanorth",
)
_UNZONED = ("westus", "northcentralus", "westcentralus", "ukwest", "germanynorth", "francesouth")

_BOTH = ("gen1", "gen2")
_GEN2 = ("gen2",)
_STEPS = {"2": 2, "4": 4, "8": 8, "16": 16, "32": 32, "48": 48, "64": 64}

_SIZES = (
    Size("Standard_B1s", 1, 1024, generations=_BOTH),
    Size("Standard_B1ms", 1, 2048, generations=_BOTH),
    Size("Standard_B2s", 2, 4096, generations=_BOTH),
    Size("Standard_B2ms", 2, 8192, generations=_BOTH),
    Size("Standard_B4ms", 4, 16_384, generations=_BOTH),
    Size("Standard_B8ms", 8, 32_768, generations=_BOTH),
    Size("Standard_B2ts_v2", 2, 1024, generations=_BOTH),
    Size("Standard_B2ls_v2", 2, 4096, generations=_BOTH),
    *family("Standard_B{}s_v2", {"2": 2, "4": 4, "8": 8, "16": 16, "32": 32}, 4, generations=_BOTH),
    *family("Standard_B{}ps_v2", {"2": 2, "4": 4, "8": 8, "16": 16}, 4, arch="arm64", generations=_GEN2),
    *family("Standard_D{}s_v3", _STEPS, 4, generations=_BOTH),
    *family("Standard_D{}s_v4", _STEPS, 4, generations=_BOTH),
    *family("Standard_D{}s_v5", {**_STEPS, "96": 96}, 4, generations=_BOTH),
    *family("Standard_D{}ds_v5", {**_STEPS, "96": 96}, 4, generations=_BOTH),
    *family("Standard_D{}as_v5", {**_STEPS, "96": 96}, 4, generations=_BOTH),
    *family("Standard_D{}ps_v5", _STEPS, 4, arch="arm64", generations=_GEN2),
    *family("Standard_D{}s_v6", {**_STEPS, "96": 96}, 4, generations=_GEN2),
    *family("Standard_E{}s_v5", _STEPS, 8, generations=_BOTH),
    *family("Standard_F{}s_v2", _STEPS, 2, generations=_BOTH),
)

NVME_SIZES = r"(?i)Standard_([DEF]C?\d+(-\d+)?[a-z]*_v([6-9]|\d\d)|L\d+[a-z]*_v([4-9]|\d\d))"
"""Sizes whose disks are NVMe namespaces and nothing else (Azure's page on NVMe: D, E and F from v6, L from v4)."""
NVME_ETCD = "/dev/disk/by-id/nvme-MSFT_NVMe_Accelerator_v1.0_SN:_000001_2"
"""The disk at lun 0 there: namespace 2 of the controller (azure-vm-utils, disk-identification.md), by the link of
systemd's 60-persistent-storage.rules, which every initrd has. Azure's own /dev/disk/azure/data/by-lun/0 is not in the
initrd of Flatcar releases before 4344.
"""

_REFUSALS = (
    Refusal(
        Trouble.RATE, "TooManyRequests", 429, "the subscription's rate of API calls was exceeded", Retry.SOON
    ),
    Refusal(Trouble.INTERNAL, "InternalServerError", 500, "an internal error of Azure", Retry.SOON),
    Refusal(
        Trouble.QUOTA_INSTANCES,
        "QuotaExceeded",
        409,
        "the subscription may have {limit} virtual machines in this region and has {used}",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VCPUS,
        "OperationNotAllowed",
        409,
        "{wanted} more cores go beyond the approved total regional cores quota of {limit} ({used} in use)",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_ADDRESSES,
        "PublicIPCountLimitReached",
        400,
        "the subscription has its {limit} public addresses",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_NETWORKS, "VnetCountLimitReached", 400, "the limit is {limit} networks", Retry.LATER
    ),
    Refusal(
        Trouble.QUOTA_LOAD_BALANCERS,
        "LoadBalancerCountLimitReached",
        400,
        "the subscription has its {limit} load balancers",
        Retry.LATER,
    ),
    Refusal(Trouble.QUOTA_VOLUMES, "OperationNotAllowed", 409, "the limit is {limit} disks", Retry.LATER),
    Refusal(
        Trouble.CAPACITY,
        "ZonalAllocationFailed",
        409,
        "no {name} capacity in zone {zone} at the moment",
        Retry.LATER,
    ),
    Refusal(
        Trouble.IMAGE_NOT_FOUND,
        "PlatformImageNotFound",
        404,
        "image {name} is not in this region",
        Retry.NEVER,
    ),
    Refusal(Trouble.SIZE_NOT_FOUND, "InvalidParameter", 400, "vmSize {name} does not exist", Retry.NEVER),
    Refusal(
        Trouble.SIZE_NOT_IN_ZONE, "SkuNotAvailable", 409, "{name} is not offered in zone {zone}", Retry.NEVER
    ),
    Refusal(
        Trouble.ARCH_MISMATCH,
        "InvalidParameter",
        400,
        "the image's architecture or hypervisor generation does not suit vmSize {name}",
        Retry.NEVER,
    ),
    Refusal(Trouble.NOT_FOUND, "ResourceNotFound", 404, "{name} does not exist", Retry.NEVER),
    Refusal(
        Trouble.USER_DATA_TOO_LARGE,
        "InvalidParameter",
        400,
        "osProfile.customData has {used} bytes, at most {limit} are taken",
        Retry.NEVER,
    ),
    Refusal(
        Trouble.INVALID_NAME, "InvalidParameter", 400, "{name} is not a virtual machine's name", Retry.NEVER
    ),
    Refusal(Trouble.INVALID_TAG, "InvalidTagNameCharacters", 400, "tag {name} is not allowed", Retry.NEVER),
    Refusal(
        Trouble.PARAMETERS_DIFFER,
        "PropertyChangeNotAllowed",
        409,
        "{name} exists with other properties, which cannot be changed",
        Retry.NEVER,
    ),
    Refusal(Trouble.NAME_TAKEN, "Conflict", 409, "{name} is being deleted", Retry.SOON),
    Refusal(Trouble.IN_USE, "InUseSubnetCannotBeDeleted", 400, "{name} is still in use", Retry.SOON),
    Refusal(
        Trouble.NOT_ALLOWED, "AuthorizationFailed", 403, "the identity is not allowed to {name}", Retry.NEVER
    ),
)

FACTS = CloudFacts(
    name="azure",
    title="Microsoft Azure",
    regions=(
        *(Region(name, ("1", "2", "3")) for name in _ZONED),
        *(Region(name, ("",)) for name in _UNZONED),
    ),
    open_regions=False,
    sizes=_SIZES,
    open_sizes=False,
    instance_name=NameRule(
        r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
        64,
        "1 to 64 letters, digits and hyphens, no hyphen at either end (it is the host name too)",
    ),
    tags=TagRule(
        50,
        512,
        256,
        r"[^<>%&\\?/]+",
        r".*",
        r"at most 50; names up to 512 characters without < > % & \ ? /, values up to 256",
    ),
    user_data=UserDataRule(65_535, encoding=UserDataEncoding.BASE64),
    stash=StashRule(
        scheme=StashScheme.HTTPS,
        url="https://{bucket}.blob.core.windows.net/stash/{key}",
        signature="se={expires}&sp=r&sig={signature}",
        longest_ttl=604_800,
        object_limit=5 * 1024**3,
    ),
    images=ImageSource(
        publisher="kinvolk",
        reference="kinvolk:{offer}:{sku}:{version}",
        name="{offer} {sku} {version}",
        generations=("gen1", "gen2"),
        lag_days=4.0,
    ),
    quotas=Quotas(
        instances=25_000, vcpus=10, addresses=1_000, networks=1_000, load_balancers=1_000, volumes=50_000
    ),
    behaviour=Behaviour(Idempotency.PUT_BY_NAME, 50, 3.0, 0.0, 10.0, 200),
    durations=Durations(
        read=Spell(0.25, 0.15),
        write=Spell(1.5, 0.8),
        running=Spell(45.0, 20.0),
        load_balancer=Spell(12.0, 6.0),
        terminated=Spell(60.0, 25.0),
        restart=Spell(15.0, 6.0),
    ),
    node_name=NodeNameRule.MACHINE_NAME,
    ignition_platform="azure",
    provider_id_source=ProviderIdSource.CCM,
    provider_id=(
        "azure:///subscriptions/{account}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    ),
    instance_id=(
        "/subscriptions/{account}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    ),
    hairpin=False,
    networks=True,
    load_balancer=True,
    load_balancer_host="{name}-{digest}.{region}.cloudapp.azure.com",
    etcd_device="/dev/disk/azure/scsi1/lun0",
    etcd_devices=((NVME_SIZES, NVME_ETCD),),
    root_device="/dev/disk/azure/root",
    cloud_controller="cloud-controller-manager (cloud-provider-azure)",
    metadata_block=MetadataBlock.HOST_RULE,
    console=True,
    login=Login(
        variables=(
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        ),
        files=(LoginFile("AZURE_CLIENT_CERTIFICATE_PATH"),),
        paths=("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CONFIG_DIR"),
    ),
    refusals=_REFUSALS,
    notes={
        "quota": "raise 'Total Regional vCPUs' and the family's quota under Usage + quotas; a trial has 4",
        "console": "boot diagnostics must be on",
    },
)

RESERVED_IN_LABELS = ("microsoft", "windows", "azure", "xbox", "login", "bing", "apple")
"""Words that no DNS label of an address may contain: DomainNameLabelReserved, "a reserved word such as a trademark".
There is no list of them; Azure's page on reserved resource names has some, public reports of that code the others.
"""
PUBLISHER = "kinvolk"
OFFERS: dict[str, tuple[str, ...]] = {
    "amd64": ("flatcar-container-linux-corevm-amd64",),
    "arm64": ("flatcar-container-linux-corevm-arm64", "flatcar-container-linux-corevm"),
}
"""Offers without a plan by architecture, the newer one first."""
OFFERS_WITH_PLAN = ("flatcar-container-linux-free", "flatcar-container-linux")
"""Retired offers, whose terms somebody has to accept once for each subscription."""
LTS_SKUS = ("lts2024", "lts2023", "lts")
"""What the channel lts is called, the newest first."""
API_VERSIONS = {
    "microsoft.compute/virtualmachines": "2024-07-01",
    "microsoft.compute/disks": "2024-03-02",
    "microsoft.compute/availabilitysets": "2024-07-01",
    "microsoft.network/loadbalancers": "2024-05-01",
    "microsoft.network/natgateways": "2024-05-01",
    "microsoft.network/networkinterfaces": "2024-05-01",
    "microsoft.network/networksecuritygroups": "2024-05-01",
    "microsoft.network/publicipaddresses": "2024-05-01",
    "microsoft.network/routetables": "2024-05-01",
    "microsoft.network/virtualnetworks": "2024-05-01",
    "microsoft.managedidentity/userassignedidentities": "2023-01-31",
    "microsoft.storage/storageaccounts": "2023-05-01",
}
"""By which each type is deleted; others are asked of their provider."""
KINDS = {
    "microsoft.compute/virtualmachines": "instance",
    "microsoft.network/loadbalancers": "load-balancer",
    "microsoft.network/networkinterfaces": "port",
    "microsoft.compute/disks": "volume",
    "microsoft.network/virtualnetworks": "network",
    "microsoft.network/natgateways": "nat-gateway",
    "microsoft.network/publicipaddresses": "address",
    "microsoft.network/networksecuritygroups": "security-group",
    "microsoft.managedidentity/userassignedidentities": "identity",
    "microsoft.storage/storageaccounts": "bucket",
    "microsoft.resources/resourcegroups": "resource-group",
}
"""What a type is called in reports, in the order in which it can be deleted."""


def nvme(size: str) -> bool:
    """Whether machines of this size have NVMe disks alone."""
    return FACTS.etcd_device_of(size) == NVME_ETCD
