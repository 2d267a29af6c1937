"""What is true of AWS EC2, its network load balancers and S3.

Sources: the EC2 and S3 user guides and API references (error codes, quotas, user data, ClientToken, tags),
the ELB guide on client IP preservation (no hairpin), cloud-provider-aws (node names, providerID).
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
    Spell,
    StashRule,
    TagRule,
    Trouble,
    UserDataRule,
    family,
)
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource, StashScheme

_ZONES = {
    "us-east-1": "abcdef",
    "us-east-2": "abc",
    "us-west-1": "ac",
    "us-west-2": "abcd",
    "ca-central-1": "abd",
    "sa-east-1": "abc",
    "eu-central-1": "abc",
    "eu-north-1": "abc",
    "eu-south-1": "abc",
    "eu-west-1": "abc",
    "eu-west-2": "abc",
    "eu-west-3": "abc",
    "ap-northeast-1": "acd",
    "ap-northeast-2": "abcd",
    "ap-south-1": "abc",
    "ap-southeast-1": "abc",
    "ap-southeast-2": "abc",
}

_BURSTABLE = (("nano", 0.5), ("micro", 1.0), ("small", 2.0), ("medium", 4.0), ("large", 8.0))
_LARGE = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64}
_FIVE = {**_LARGE, "24xlarge": 96}
_COMPUTE5 = {
    "large": 2,
    "xlarge": 4,
    "2xlarge": 8,
    "4xlarge": 16,
    "9xlarge": 36,
    "12xlarge": 48,
    "18xlarge": 72,
}
_GRAVITON = {"medium": 1, **_LARGE}

_SIZES = (
    *(size for step, gib in _BURSTABLE for size in family("t3.{}", {step: 2}, gib / 2)),
    *family("t3.{}", {"xlarge": 4, "2xlarge": 8}, 4),
    *(size for step, gib in _BURSTABLE for size in family("t3a.{}", {step: 2}, gib / 2)),
    *family("t3a.{}", {"xlarge": 4, "2xlarge": 8}, 4),
    *(size for step, gib in _BURSTABLE for size in family("t4g.{}", {step: 2}, gib / 2, arch="arm64")),
    *family("t4g.{}", {"xlarge": 4, "2xlarge": 8}, 4, arch="arm64"),
    *family("m5.{}", _FIVE, 4),
    *family("m5a.{}", _FIVE, 4),
    *family("m6i.{}", {**_FIVE, "32xlarge": 128}, 4),
    *family("m7i.{}", {**_FIVE, "48xlarge": 192}, 4),
    *family("m6g.{}", _GRAVITON, 4, arch="arm64"),
    *family("m7g.{}", _GRAVITON, 4, arch="arm64"),
    *family("c5.{}", {**_COMPUTE5, "24xlarge": 96}, 2),
    *family("c6i.{}", {**_FIVE, "32xlarge": 128}, 2),
    *family("c6g.{}", _GRAVITON, 2, arch="arm64"),
    *family("c7g.{}", _GRAVITON, 2, arch="arm64"),
    *family("r5.{}", _FIVE, 8),
    *family("r6i.{}", {**_FIVE, "32xlarge": 128}, 8),
    *family("r6g.{}", _GRAVITON, 8, arch="arm64"),
)

_REFUSALS = (
    Refusal(
        Trouble.RATE, "RequestLimitExceeded", 503, "the account's rate of API calls was exceeded", Retry.SOON
    ),
    Refusal(Trouble.INTERNAL, "InternalError", 500, "an internal error of EC2", Retry.SOON),
    Refusal(
        Trouble.QUOTA_INSTANCES,
        "InstanceLimitExceeded",
        400,
        "the account may run {limit} instances in this region and runs {used}",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VCPUS,
        "VcpuLimitExceeded",
        400,
        "{wanted} more vCPUs go beyond the account's limit of {limit} in this region ({used} in use)",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_ADDRESSES,
        "AddressLimitExceeded",
        400,
        "the account has its {limit} addresses",
        Retry.LATER,
    ),
    Refusal(Trouble.QUOTA_NETWORKS, "VpcLimitExceeded", 400, "the account has its {limit} VPCs", Retry.LATER),
    Refusal(
        Trouble.QUOTA_LOAD_BALANCERS,
        "TooManyLoadBalancers",
        400,
        "the account has its {limit} load balancers",
        Retry.LATER,
    ),
    Refusal(
        Trouble.QUOTA_VOLUMES, "VolumeLimitExceeded", 400, "the account has its {limit} volumes", Retry.LATER
    ),
    Refusal(
        Trouble.CAPACITY,
        "InsufficientInstanceCapacity",
        500,
        "no {name} capacity in zone {zone} at the moment",
        Retry.LATER,
    ),
    Refusal(
        Trouble.IMAGE_NOT_FOUND, "InvalidAMIID.NotFound", 400, "image {name} does not exist here", Retry.NEVER
    ),
    Refusal(
        Trouble.SIZE_NOT_FOUND,
        "InvalidParameterValue",
        400,
        "instance type {name} does not exist",
        Retry.NEVER,
    ),
    Refusal(
        Trouble.SIZE_NOT_IN_ZONE, "Unsupported", 400, "{name} is not offered in zone {zone}", Retry.NEVER
    ),
    Refusal(
        Trouble.ARCH_MISMATCH,
        "InvalidParameterValue",
        400,
        "image and instance type {name} have different architectures",
        Retry.NEVER,
    ),
    Refusal(Trouble.NOT_FOUND, "InvalidInstanceID.NotFound", 400, "{name} does not exist", Retry.NEVER),
    Refusal(
        Trouble.USER_DATA_TOO_LARGE,
        "InvalidParameterValue",
        400,
        "user data has {used} bytes, at most {limit} are taken",
        Retry.NEVER,
    ),
    Refusal(Trouble.INVALID_TAG, "InvalidParameterValue", 400, "tag {name} is not allowed", Retry.NEVER),
    Refusal(
        Trouble.PARAMETERS_DIFFER,
        "IdempotentParameterMismatch",
        400,
        "client token {name} was used with other parameters",
        Retry.NEVER,
    ),
    Refusal(Trouble.IN_USE, "DependencyViolation", 400, "{name} is still in use", Retry.SOON),
    Refusal(
        Trouble.NOT_ALLOWED, "UnauthorizedOperation", 403, "the credentials do not allow {name}", Retry.NEVER
    ),
)

FACTS = CloudFacts(
    name="aws",
    title="Amazon Web Services",
    regions=tuple(Region(name, tuple(name + z for z in zones)) for name, zones in _ZONES.items()),
    open_regions=False,
    sizes=_SIZES,
    open_sizes=False,
    instance_name=NameRule(
        r"[\w .:/=+\-@]+", 256, "the Name tag: letters, digits, spaces and _ . : / = + - @"
    ),
    tags=TagRule(
        50,
        128,
        256,
        r"(?!aws:)[\w .:/=+\-@]+",
        r"[\w .:/=+\-@]*",
        "at most 50; keys up to 128, values up to 256 letters, digits, spaces and _ . : / = + - @",
    ),
    user_data=UserDataRule(16_384),
    stash=StashRule(
        scheme=StashScheme.HTTPS,
        url="https://{bucket}.s3.{region}.amazonaws.com/{key}",
        signature="X-Amz-Expires={expires}&X-Amz-Signature={signature}",
        longest_ttl=604_800,
        object_limit=5 * 1024**3,
    ),
    images=ImageSource(
        publisher="075585003325",
        reference="ami-{digest}",
        name="Flatcar-{channel}-{version}-hvm",
        lag_days=0.1,
    ),
    quotas=Quotas(vcpus=5, addresses=5, networks=5, load_balancers=50, volumes=5_000),
    behaviour=Behaviour(Idempotency.CLIENT_TOKEN, 1_000, 4.0, 3_600.0, 20.0, 100),
    durations=Durations(
        read=Spell(0.15, 0.1),
        write=Spell(0.9, 0.5),
        running=Spell(12.0, 6.0),
        load_balancer=Spell(120.0, 40.0),
        terminated=Spell(40.0, 15.0),
        restart=Spell(5.0, 2.0),
    ),
    node_name=NodeNameRule.PRIVATE_DNS,
    ignition_platform="aws",
    provider_id_source=ProviderIdSource.METADATA,
    provider_id="aws:///{zone}/{id}",
    instance_id="i-{hex17}",
    hairpin=False,
    networks=True,
    load_balancer=True,
    load_balancer_host="{name}-{digest}.elb.{region}.amazonaws.com",
    # The name of the create call is the machine's on Xen and, by Flatcar's 90-cloud-storage.rules, a link on Nitro; in
    # the initrd too, where Ignition looks (flatcar/init, flatcar/bootengine). Not xvdb: Flatcar's AMIs map that to
    # ephemeral0 (flatcar/mantle platform/api/aws/images.go). xvd[e-z] and sd[f-p] are for EBS (EC2 user guide).
    etcd_device="/dev/xvdf",
    root_device="/dev/xvda",
    cloud_controller="aws-cloud-controller-manager",
    metadata_block=MetadataBlock.HOP_LIMIT,
    console=True,
    login=Login(
        variables=(
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_ROLE_ARN",
            "AWS_ASSUME_ROLE_ARN",
            "AWS_ASSUME_ROLE_EXTERNAL_ID",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        ),
        files=(
            LoginFile("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            LoginFile("AWS_CONFIG_FILE", ".aws/config"),
        ),
        paths=("AWS_WEB_IDENTITY_TOKEN_FILE",),
    ),
    refusals=_REFUSALS,
    notes={
        "quota": "raise 'Running On-Demand Standard instances' under Service Quotas; new accounts have 5",
        "metadata": "keep the hop limit at 1 so that pods do not reach the instance's role",
    },
)
