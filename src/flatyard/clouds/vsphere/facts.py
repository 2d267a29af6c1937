"""What is true of a vCenter: no sizes, no quotas, no load balancer, no object store; templates and guestinfo.

Sources: the vSphere Web Services API reference (faults, naming), VMware's limits on guestinfo values,
Ignition's VMware provider (encodings), cloud-provider-vsphere.
"""

from __future__ import annotations

from flatyard.clouds.facts import (
    Behaviour,
    CloudFacts,
    Durations,
    Idempotency,
    ImageSource,
    NameRule,
    Quotas,
    Refusal,
    Region,
    Retry,
    Spell,
    StashRule,
    TagRule,
    Trouble,
    UserDataRule,
)
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource, UserDataEncoding

_REFUSALS = (
    Refusal(Trouble.RATE, "ServerBusy", 503, "the vCenter has too many sessions or tasks", Retry.SOON),
    Refusal(Trouble.INTERNAL, "HostCommunication", 500, "the vCenter cannot reach a host", Retry.SOON),
    Refusal(
        Trouble.CAPACITY,
        "InsufficientResourcesFault",
        500,
        "no host in {zone} has room for {name}",
        Retry.LATER,
    ),
    Refusal(Trouble.IMAGE_NOT_FOUND, "NotFound", 404, "there is no template {name}", Retry.NEVER),
    Refusal(
        Trouble.SIZE_NOT_FOUND, "InvalidArgument", 400, "{name} is not a machine's configuration", Retry.NEVER
    ),
    Refusal(Trouble.SIZE_NOT_IN_ZONE, "NotFound", 404, "there is no compute cluster {zone}", Retry.NEVER),
    Refusal(Trouble.ARCH_MISMATCH, "InvalidArgument", 400, "{name} runs amd64 only", Retry.NEVER),
    Refusal(Trouble.NOT_FOUND, "ManagedObjectNotFound", 404, "{name} does not exist", Retry.NEVER),
    Refusal(
        Trouble.USER_DATA_TOO_LARGE,
        "InvalidArgument",
        400,
        "guestinfo.ignition.config.data has {used} bytes, at most {limit} are taken",
        Retry.NEVER,
    ),
    Refusal(Trouble.INVALID_NAME, "InvalidName", 400, "{name} is not a virtual machine's name", Retry.NEVER),
    Refusal(Trouble.INVALID_TAG, "InvalidArgument", 400, "attribute {name} is not allowed", Retry.NEVER),
    Refusal(Trouble.NAME_TAKEN, "DuplicateName", 409, "{name} exists already in this folder", Retry.NEVER),
    Refusal(Trouble.IN_USE, "ResourceInUse", 409, "{name} is still in use", Retry.SOON),
    Refusal(Trouble.NOT_ALLOWED, "NoPermission", 403, "the user lacks a privilege for {name}", Retry.NEVER),
)

FACTS = CloudFacts(
    name="vsphere",
    title="VMware vSphere",
    regions=(Region("Datacenter", ("",)),),
    open_regions=True,
    sizes=(),
    open_sizes=True,
    instance_name=NameRule(
        r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
        80,
        "1 to 80 letters, digits and hyphens (it is the host name too)",
    ),
    tags=TagRule(100, 80, 1024, r"[\w .:-]+", r".*", "custom attributes: names up to 80 characters"),
    user_data=UserDataRule(65_536, after_encoding=True, encoding=UserDataEncoding.GZIP_BASE64, vanishes=True),
    stash=StashRule(),
    images=ImageSource(
        publisher="",
        reference="flatcar-{channel}-{version}",
        name="flatcar-{channel}-{version}",
        arches=("amd64",),
        provided=False,
    ),
    quotas=Quotas(),
    behaviour=Behaviour(Idempotency.UNIQUE_NAME, 1_000, 0.0, 0.0, 10.0, 50, list_lag_bound=5.0),
    durations=Durations(
        read=Spell(0.2, 0.1),
        write=Spell(2.0, 1.0),
        running=Spell(45.0, 20.0),
        load_balancer=Spell(0.0),
        terminated=Spell(15.0, 8.0),
        restart=Spell(5.0, 2.0),
    ),
    node_name=NodeNameRule.MACHINE_NAME,
    ignition_platform="vmware",
    provider_id_source=ProviderIdSource.CCM,
    provider_id="vsphere://{uuid}",
    instance_id="{uuid}",
    hairpin=True,
    networks=False,
    load_balancer=False,
    load_balancer_host="",
    etcd_device="/dev/sdb",
    root_device="/dev/sda",
    cloud_controller="vsphere-cloud-controller-manager",
    metadata_block=MetadataBlock.NONE,
    console=False,
    refusals=_REFUSALS,
    notes={
        "images": "import the Flatcar OVA as a template first",
        "endpoint": "a virtual address (kube-vip)",
    },
)
