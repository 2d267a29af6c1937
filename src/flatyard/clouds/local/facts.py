"""What is true of this Linux machine as a cloud: no quotas but its own CPUs and memory."""

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
from flatyard.model.traits import MetadataBlock, NodeNameRule, ProviderIdSource

FACTS = CloudFacts(
    name="local",
    title="this Linux machine",
    regions=(Region("local", ("",)),),
    open_regions=False,
    sizes=(),
    open_sizes=True,
    instance_name=NameRule(
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        63,
        "1 to 63 small letters, digits and hyphens (it is the host name too)",
    ),
    tags=TagRule(1_000, 255, 4_096, r"[\w.:/-]+", r".*", "a JSON file beside the machine; no limit of note"),
    user_data=UserDataRule(16 * 1024 * 1024),
    stash=StashRule(),
    images=ImageSource(publisher="", reference="host", name="the host's own /usr", arches=("amd64", "arm64")),
    quotas=Quotas(),
    behaviour=Behaviour(Idempotency.UNIQUE_NAME, 1_000, 0.0, 0.0, 1_000.0, 1_000),
    durations=Durations(
        read=Spell(0.01, 0.005),
        write=Spell(0.1, 0.05),
        running=Spell(1.0, 0.5),
        load_balancer=Spell(0.0),
        terminated=Spell(1.0, 0.5),
        restart=Spell(1.0, 0.5),
    ),
    node_name=NodeNameRule.MACHINE_NAME,
    ignition_platform="metal",
    provider_id_source=ProviderIdSource.FIXED,
    provider_id="flatyard-local://{name}",
    instance_id="{name}",
    hairpin=True,
    load_balancer=False,
    load_balancer_host="",
    etcd_device="",
    root_device="",
    cloud_controller="",
    metadata_block=MetadataBlock.NONE,
    console=True,
    create_timeout=120,
    refusals=(
        Refusal(Trouble.NAME_TAKEN, "exists", 409, "machine {name} exists already", Retry.NEVER),
        Refusal(Trouble.NOT_FOUND, "missing", 404, "{name} does not exist", Retry.NEVER),
        Refusal(Trouble.INVALID_NAME, "name", 400, "{name} is not a machine's name", Retry.NEVER),
    ),
)
