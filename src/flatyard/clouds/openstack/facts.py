"""What is true of Nova, Neutron, Octavia and Swift's temporary URLs; flavors and quotas as Jetstream2 has
them.

Sources: the Nova, Neutron and Octavia API references (user_data limit, port binding, quota answers, server
ERROR with fault), Swift's TempURL middleware, the Jetstream2 documents, cloud-provider-openstack.
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
)
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource, StashScheme, UserDataEncoding

_GIB = 1024
ETCD_GIB = 20
"""Size of the disk that only etcd writes to."""
_SIZES = (
    Size("m3.tiny", 1, 3 * _GIB, disk_gib=20),
    Size("m3.small", 2, 6 * _GIB, disk_gib=20),
    Size("m3.quad", 4, 15 * _GIB, disk_gib=20),
    Size("m3.medium", 8, 30 * _GIB, disk_gib=60),
    Size("m3.large", 16, 60 * _GIB, disk_gib=60),
    Size("m3.xl", 32, 125 * _GIB, disk_gib=60),
    Size("m3.2xl", 64, 250 * _GIB, disk_gib=60),
    Size("m3.3xl", 128, 500 * _GIB, disk_gib=60),
    Size("m1.small", 1, 2 * _GIB, disk_gib=20),
    Size("m1.medium", 2, 4 * _GIB, disk_gib=40),
    Size("m1.large", 4, 8 * _GIB, disk_gib=80),
    Size("m1.xlarge", 8, 16 * _GIB, disk_gib=160),
)

_REFUSALS = (
    Refusal(Trouble.RATE, "overLimit", 429, "too many calls", Retry.SOON),
    Refusal(Trouble.INTERNAL, "computeFault", 500, "an internal error of Nova", Retry.SOON),
    Refusal(
        Trouble.QUOTA_INSTANCES,
        "forbidden",
        403,
        "quota exceeded for instances: {used} of {limit} are in use",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VCPUS,
        "forbidden",
        403,
        "quota exceeded for cores: {wanted} wanted, {used} of {limit} are in use",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_ADDRESSES,
        "OverQuota",
        409,
        "quota exceeded for floatingip: all {limit} in use",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_NETWORKS,
        "OverQuota",
        409,
        "quota exceeded for network: all {limit} in use",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_LOAD_BALANCERS,
        "QuotaException",
        403,
        "quota exceeded for load balancers: all {limit} in use",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VOLUMES, "overLimit", 413, "quota exceeded for volumes: all {limit} in use", Retry.LATER
    ),
    Refusal(
        Trouble.CAPACITY,
        "NoValidHost",
        500,
        "no valid host was found for {name} in zone {zone}",
        Retry.LATER,
        late=True,
    ),
    Refusal(Trouble.IMAGE_NOT_FOUND, "badRequest", 400, "image {name} cannot be found", Retry.NEVER),
    Refusal(Trouble.SIZE_NOT_FOUND, "badRequest", 400, "flavor {name} cannot be found", Retry.NEVER),
    Refusal(Trouble.SIZE_NOT_IN_ZONE, "badRequest", 400, "zone {zone} is not available", Retry.NEVER),
    Refusal(
        Trouble.ARCH_MISMATCH,
        "ImagePropertiesFilter",
        500,
        "no host of the image's architecture was found",
        Retry.NEVER,
        late=True,
    ),
    Refusal(Trouble.NOT_FOUND, "itemNotFound", 404, "{name} could not be found", Retry.NEVER),
    Refusal(
        Trouble.USER_DATA_TOO_LARGE,
        "badRequest",
        400,
        "user_data has {used} characters, at most {limit} are taken",
        Retry.NEVER,
    ),
    Refusal(Trouble.INVALID_NAME, "badRequest", 400, "{name} is not a server's name", Retry.NEVER),
    Refusal(Trouble.INVALID_TAG, "badRequest", 400, "metadata {name} is not allowed", Retry.NEVER),
    Refusal(Trouble.NAME_TAKEN, "PortInUse", 409, "port {name} is in use", Retry.NEVER),
    Refusal(Trouble.IN_USE, "NetworkInUse", 409, "{name} is still in use", Retry.SOON),
    Refusal(Trouble.NOT_ALLOWED, "Forbidden", 403, "the project's roles do not allow {name}", Retry.NEVER),
)

FACTS = CloudFacts(
    name="openstack",
    title="OpenStack",
    regions=(Region("RegionOne", ("nova",)), Region("IU", ("nova",))),
    open_regions=True,
    sizes=_SIZES,
    open_sizes=True,
    instance_name=NameRule(
        r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?",
        255,
        "letters, digits, hyphens and dots (it is the host name too)",
    ),
    tags=TagRule(
        128,
        255,
        255,
        r"[\w .:-]+",
        r".*",
        "metadata: at most 128 pairs of up to 255 characters; keys: letters, digits, _ . : -",
    ),
    user_data=UserDataRule(65_535, after_encoding=True, encoding=UserDataEncoding.BASE64),
    stash=StashRule(
        scheme=StashScheme.HTTPS,
        url="https://object-store.{region}.openstack.example/v1/AUTH_{account}/{bucket}/{key}",
        signature="temp_url_expires={expires}&temp_url_sig={signature}",
        longest_ttl=604_800,
        object_limit=5 * 1024**3,
    ),
    images=ImageSource(
        publisher="",
        reference="{uuid}",
        name="flatcar-{channel}-{version}-{arch}",
        lag_days=0.0,
        provided=False,
    ),
    quotas=Quotas(instances=10, vcpus=20, addresses=10, networks=100, load_balancers=10, volumes=10),
    behaviour=Behaviour(Idempotency.PORT, 1_000, 0.5, 0.0, 15.0, 60),
    durations=Durations(
        read=Spell(0.3, 0.2),
        write=Spell(1.2, 0.6),
        running=Spell(25.0, 12.0),
        load_balancer=Spell(60.0, 25.0),
        terminated=Spell(12.0, 6.0),
        restart=Spell(8.0, 4.0),
    ),
    node_name=NodeNameRule.MACHINE_NAME,
    ignition_platform="openstack",
    provider_id_source=ProviderIdSource.METADATA,
    provider_id="openstack:///{id}",
    instance_id="{uuid}",
    hairpin=True,
    networks=True,
    load_balancer=True,
    load_balancer_host="",
    etcd_device="/dev/vdb",
    root_device="/dev/vda",
    cloud_controller="openstack-cloud-controller-manager",
    metadata_block=MetadataBlock.HOST_RULE,
    console=True,
    login=Login(
        variables=(
            "OS_CLOUD",
            "OS_AUTH_URL",
            "OS_TOKEN",
            "OS_USERNAME",
            "OS_USER_NAME",
            "OS_USER_ID",
            "OS_PASSWORD",
            "OS_PROJECT_NAME",
            "OS_PROJECT_ID",
            "OS_TENANT_NAME",
            "OS_TENANT_ID",
            "OS_DOMAIN_NAME",
            "OS_USER_DOMAIN_NAME",
            "OS_USER_DOMAIN_ID",
            "OS_PROJECT_DOMAIN_NAME",
            "OS_PROJECT_DOMAIN_ID",
            "OS_APPLICATION_CREDENTIAL_ID",
            "OS_APPLICATION_CREDENTIAL_NAME",
            "OS_APPLICATION_CREDENTIAL_SECRET",
        ),
        files=(
            LoginFile("OS_CLIENT_CONFIG_FILE", ".config/openstack/clouds.yaml", "clouds.yaml"),
            LoginFile("OS_CLIENT_SECURE_FILE", ".config/openstack/secure.yaml", "secure.yaml"),
        ),
        paths=("OS_CACERT",),
    ),
    refusals=_REFUSALS,
    notes={
        "quota": "ask the site's support for more; a research allocation on Jetstream2 has 150 cores",
        "router": "Jetstream2 allows one router: name auto_allocated_network as the cluster's network",
        "volumes": "a project has 10 volumes by default",
    },
)
