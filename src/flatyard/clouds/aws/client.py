"""One AWS account and region through boto3, with its own retries off: every call is an act in words."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from flatyard.base.world import RealWorld, World
from flatyard.clouds.aws.answers import ASKED, is_unheard, translate
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.pacing import Pace
from flatyard.clouds.calls import THREADS, Calls
from flatyard.clouds.cloud import Rejected, Transient

Answer: TypeAlias = dict[str, Any]
"""A parsed answer, as boto3's reference describes it for each operation."""
_CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=THREADS,
    user_agent_extra="flatyard",
)
_S3 = Config(
    signature_version="s3v4",
    s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
)
"""A signed URL names the region's own host: the global one redirects to a new bucket, which its signature forbids."""
_PAGES = {
    "ec2": ("NextToken", "NextToken"),
    "elb": ("Marker", "NextMarker"),
    "elbv2": ("Marker", "NextMarker"),
    "iam": ("Marker", "Marker"),
    "s3": ("ContinuationToken", "NextContinuationToken"),
}
"""By service: the parameter for the next page, and where an answer has it."""
_HEARD_OF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses, in seconds, in which every part of a service as a rule has heard of what was just made."""
_LONG = (
    "describe_instances",
    "describe_security_groups",
    "describe_spot_instance_requests",
    "describe_tags",
    "describe_volumes",
)
"""Lists of EC2 that fail in accounts with much in them unless they are asked for in pages."""
_PERMITTED = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "service-quotas": "servicequotas",
}
"""Services that policies call otherwise than the SDK."""
_ENCODED = "Encoded authorization failure message: "


class Account:
    """The services of one account in one region. Each client is made with its first call, in the pool."""

    def __init__(
        self, session: boto3.Session, region: str, *, world: World | None = None, per_second: float = 0
    ) -> None:
        behaviour = FACTS.behaviour
        self.region = region
        self.session = session
        self.world = world or RealWorld()
        self.calls = Calls(
            translate, per_second=per_second or behaviour.calls_per_second, burst=behaviour.burst
        )
        self._pace = Pace(per_second / behaviour.calls_per_second if per_second else 1.0)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    async def read(self, what: str, service: str, operation: str, **parameters: object) -> Answer:
        """A call that may be repeated; raises CloudError."""
        await self._pace.turn(service, operation)
        return await self.calls.read(what, self._call(service, operation, parameters))

    async def write(self, what: str, service: str, operation: str, **parameters: object) -> Answer:
        """A call that is repeated only when nothing was done; raises CloudError."""
        await self._pace.turn(service, operation)
        return await self.calls.write(what, self._call(service, operation, parameters))

    async def follow(self, what: str, service: str, operation: str, **parameters: object) -> Answer:
        """A call about what may have been made a moment ago: an id that is not known yet is waited for.

        AWS is eventually consistent (EC2 developer guide, "Eventual consistency"; IAM user guide, "Changes that I make
        are not always immediately visible"). Raises Transient, so that all is looked at anew, where that takes long.
        """
        ask = self.read if operation.startswith("describe") else self.write
        late: Rejected | None = None
        for pause in _HEARD_OF:
            try:
                return await ask(what, service, operation, **parameters)
            except Rejected as no:
                if not is_unheard(no):
                    raise
                late = no
            await asyncio.sleep(pause)
        assert late is not None
        raise Transient(late.what, code=late.code, request_id=late.request_id)

    async def pages(
        self, what: str, service: str, operation: str, key: str, **parameters: object
    ) -> list[Answer]:
        """The rows under `key` of every page."""
        asked, told = _PAGES[service]
        rows: list[Answer] = []
        if operation in _LONG:
            parameters = {"MaxResults": FACTS.behaviour.page, **parameters}
        more: dict[str, object] = {}
        while True:
            page = await self.read(what, service, operation, **parameters, **more)
            rows.extend(page.get(key, ()))
            if not page.get(told):
                return rows
            more = {asked: page[told]}

    async def sign(self, bucket: str, key: str, seconds: float) -> str:
        """A pre-signed URL of an object; nothing is asked of AWS."""

        def signed() -> str:
            made = self._client("s3").generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=int(seconds)
            )
            return str(made)

        return await asyncio.to_thread(signed)

    def regions(self) -> tuple[str, ...]:
        """Every region that this release of the SDK knows, those of China and of governments too."""
        names = self.session.get_available_partitions()
        return tuple(region for name in names for region in self.session.get_available_regions("ec2", name))

    @property
    def partition(self) -> str:
        """What the region is a part of, as its ARNs begin: aws, aws-cn, aws-us-gov."""
        return str(self.session.get_partition_for_region(self.region))

    async def close(self) -> None:
        await self.calls.close()

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its clients from data
        with self._lock:
            if service not in self._clients:
                config = _CONFIG.merge(_S3) if service == "s3" else _CONFIG
                self._clients[service] = self.session.client(service, self.region, config=config)
            return self._clients[service]

    def _call(self, service: str, operation: str, parameters: dict[str, object]) -> Callable[[], Answer]:
        def call() -> Answer:
            try:
                answer: Answer = getattr(self._client(service), operation)(**parameters)
            except ClientError as problem:
                problem.response[ASKED] = {
                    "service": _PERMITTED.get(service, service),
                    "operation": problem.operation_name,
                    "resource": _resource(parameters, self.partition),
                }
                self._decode(problem)
                raise
            return answer

        return call

    def _decode(self, problem: ClientError) -> None:
        """EC2 may tell the denied permission in a message that only STS can read; being denied that is fine."""
        error = problem.response["Error"]
        before, _, encoded = str(error.get("Message", "")).partition(_ENCODED)
        if not encoded or "not authorized to perform:" in before:
            return
        try:
            text = self._client("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"]
        except (BotoCoreError, ClientError):
            return
        error["Message"] = f"{before}{_told(text)}"


def _told(decoded: str) -> str:
    context = json.loads(decoded).get("context", {})
    return f"not authorized to perform: {context.get('action')} on resource: {context.get('resource')}"


def _resource(parameters: dict[str, object], partition: str) -> str:
    """What a call was about, for messages: its first id or name."""
    for name, value in parameters.items():
        if name == "Bucket":
            return f"arn:{partition}:s3:::{value}"
        if name.endswith(("Id", "Arn", "Name")) and isinstance(value, str):
            return value
    return ""
