"""What is true of Google Compute Engine, its internal load balancers and Cloud Storage.

Sources: Compute Engine documents on naming, labels, metadata limits, quotas, error codes and request ids;
Cloud Storage on signed URLs; cloud-provider-gcp. A backend of a passthrough load balancer answers itself:
the guest agent (or a local route, which we set) makes the address its own.
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
    Size,
    Spell,
    StashRule,
    TagRule,
    Trouble,
    UserDataRule,
    family,
)
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource, StashScheme

_ZONES = {
    "us-central1": "abcf",
    "us-east1": "bcd",
    "us-east4": "abc",
    "us-west1": "abc",
    "us-west2": "abc",
    "northamerica-northeast1": "abc",
    "southamerica-east1": "abc",
    "europe-north1": "abc",
    "europe-west1": "bcd",
    "europe-west2": "abc",
    "europe-west3": "abc",
    "europe-west4": "abc",
    "europe-west9": "abc",
    "asia-east1": "abc",
    "asia-northeast1": "abc",
    "asia-south1": "abc",
    "asia-southeast1": "abc",
    "australia-southeast1": "abc",
}

_STEPS = {"2": 2, "4": 4, "8": 8, "16": 16, "32": 32}
_BIG = {**_STEPS, "48": 48, "64": 64, "80": 80, "96": 96, "128": 128}

_SIZES = (
    Size("e2-micro", 2, 1024),
    Size("e2-small", 2, 2048),
    Size("e2-medium", 2, 4096),
    *family("e2-standard-{}", _STEPS, 4),
    *family("e2-highmem-{}", {"2": 2, "4": 4, "8": 8, "16": 16}, 8),
    *family("e2-highcpu-{}", _STEPS, 1),
    *family("n2-standard-{}", _BIG, 4),
    *family("n2-highmem-{}", _BIG, 8),
    *family("n2-highcpu-{}", {k: v for k, v in _BIG.items() if v <= 96}, 1),
    *family("n2d-standard-{}", _BIG, 4),
    *family("t2d-standard-{}", {"1": 1, **_STEPS, "48": 48, "60": 60}, 4),
    *family("t2a-standard-{}", {"1": 1, **_STEPS, "48": 48}, 4, arch="arm64"),
)

_REFUSALS = (
    Refusal(
        Trouble.RATE, "rateLimitExceeded", 403, "the project's rate of API calls was exceeded", Retry.SOON
    ),
    Refusal(Trouble.INTERNAL, "backendError", 503, "an internal error of Compute Engine", Retry.SOON),
    Refusal(
        Trouble.QUOTA_INSTANCES,
        "QUOTA_EXCEEDED",
        403,
        "quota INSTANCES of {limit} in this region is used up ({used})",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VCPUS,
        "QUOTA_EXCEEDED",
        403,
        "{wanted} more vCPUs go beyond quota CPUS of {limit} in this region ({used} in use)",
        Retry.LATER,
    ),
    Refusal(Trouble.QUOTA_ADDRESSES, "quotaExceeded", 403, "quota IN_USE_ADDRESSES of {limit}", Retry.LATER),
    Refusal(Trouble.QUOTA_NETWORKS, "quotaExceeded", 403, "quota NETWORKS of {limit}", Retry.LATER),
    Refusal(
        Trouble.QUOTA_LOAD_BALANCERS, "quotaExceeded", 403, "quota FORWARDING_RULES of {limit}", Retry.LATER
    ),
    Refusal(Trouble.QUOTA_VOLUMES, "quotaExceeded", 403, "quota of {limit} disks", Retry.LATER),
    Refusal(
        Trouble.CAPACITY,
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        503,
        "zone {zone} has no resources for {name} at the moment",
        Retry.LATER,
    ),
    Refusal(Trouble.IMAGE_NOT_FOUND, "notFound", 404, "image {name} was not found", Retry.NEVER),
    Refusal(
        Trouble.SIZE_NOT_FOUND,
        "invalid",
        400,
        "machine type {name} does not exist in zone {zone}",
        Retry.NEVER,
    ),
    Refusal(
        Trouble.SIZE_NOT_IN_ZONE, "invalid", 400, "machine type {name} is not in zone {zone}", Retry.NEVER
    ),
    Refusal(
        Trouble.ARCH_MISMATCH, "invalid", 400, "the image's architecture does not suit {name}", Retry.NEVER
    ),
    Refusal(Trouble.NOT_FOUND, "notFound", 404, "{name} was not found", Retry.NEVER),
    Refusal(
        Trouble.USER_DATA_TOO_LARGE,
        "invalid",
        400,
        "metadata value user-data has {used} bytes, at most {limit} are taken",
        Retry.NEVER,
    ),
    Refusal(Trouble.INVALID_NAME, "invalid", 400, "{name} is not an instance's name", Retry.NEVER),
    Refusal(Trouble.INVALID_TAG, "invalid", 400, "label {name} is not allowed", Retry.NEVER),
    Refusal(
        Trouble.PARAMETERS_DIFFER,
        "invalid",
        400,
        "request id {name} was used for something else",
        Retry.NEVER,
    ),
    Refusal(Trouble.NAME_TAKEN, "alreadyExists", 409, "{name} exists already", Retry.NEVER),
    Refusal(Trouble.IN_USE, "resourceInUseByAnotherResource", 400, "{name} is still in use", Retry.SOON),
    Refusal(Trouble.NOT_ALLOWED, "forbidden", 403, "the account may not {name}", Retry.NEVER),
)

FACTS = CloudFacts(
    name="gcp",
    title="Google Cloud",
    regions=tuple(Region(name, tuple(f"{name}-{z}" for z in zones)) for name, zones in _ZONES.items()),
    open_regions=False,
    sizes=_SIZES,
    open_sizes=False,
    instance_name=NameRule(
        r"[a-z]([-a-z0-9]*[a-z0-9])?",
        63,
        "1 to 63 small letters, digits and hyphens; a letter first, no hyphen last",
    ),
    tags=TagRule(
        64,
        63,
        63,
        r"[a-z][a-z0-9_-]*",
        r"[a-z0-9_-]*",
        "at most 64 labels; keys and values: up to 63 small letters, digits, _ and -; keys: a letter first",
        lower_only=True,
    ),
    user_data=UserDataRule(262_144),
    stash=StashRule(
        scheme=StashScheme.HTTPS,
        url="https://storage.googleapis.com/{bucket}/{key}",
        signature="X-Goog-Expires={expires}&X-Goog-Signature={signature}",
        longest_ttl=604_800,
        object_limit=5 * 1024**4,
    ),
    images=ImageSource(
        publisher="kinvolk-public",
        reference="projects/kinvolk-public/global/images/flatcar-{channel}-{dashed}",
        name="flatcar-{channel}-{dashed}",
        arches=("amd64",),
        lag_days=0.5,
    ),
    quotas=Quotas(instances=6_000, vcpus=24, addresses=8, networks=5, load_balancers=15, volumes=5_000),
    behaviour=Behaviour(Idempotency.REQUEST_ID, 500, 1.0, 0.0, 20.0, 100),
    durations=Durations(
        read=Spell(0.2, 0.1),
        write=Spell(1.0, 0.5),
        running=Spell(15.0, 6.0),
        load_balancer=Spell(40.0, 15.0),
        terminated=Spell(45.0, 20.0),
        restart=Spell(6.0, 2.0),
    ),
    node_name=NodeNameRule.MACHINE_NAME,
    ignition_platform="gce",
    provider_id_source=ProviderIdSource.CCM,
    provider_id="gce://{account}/{zone}/{name}",
    instance_id="{name}",
    hairpin=True,
    networks=True,
    load_balancer=True,
    load_balancer_host="",
    etcd_device="/dev/disk/by-id/google-etcd",
    root_device="/dev/disk/by-id/google-persistent-disk-0",
    cloud_controller="cloud-controller-manager (cloud-provider-gcp)",
    metadata_block=MetadataBlock.HOST_RULE,
    console=True,
    refusals=_REFUSALS,
    notes={"quota": "raise CPUS and IN_USE_ADDRESSES for the region under IAM & Admin, Quotas"},
)
