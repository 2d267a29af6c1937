"""The bench of the conformance suite on a real AWS account; on demand, never in CI, and it costs money.

Trouble and lost replies come from botocore's own events, at the client: nothing in the account is set up for it.
What is made carries the tags of two clusters with fresh ids, and is swept away after each check.
"""

from __future__ import annotations

import asyncio
import base64
import io
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from emulators.aws.emulated import body_of, cluster_of
from emulators.real_account import RealAccount
from flatyard.base.world import RealWorld, ulid
from flatyard.clouds.aws.client import Account
from flatyard.clouds.aws.cloud import AwsCloud
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import tagged
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine, MachineSpec
from flatyard.model.meta import ObjectMeta


class Raw(io.BytesIO):
    """The body of an answer that nobody sent."""

    def stream(self, *_: object, **__: object) -> Any:
        yield self.read()


class Interference:
    """What stands between the adapter's EC2 client and EC2."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.troubles = self.lost = 0
        self.lag = 0.0

    def attach(self, account: Account) -> None:
        events = account._client("ec2").meta.events
        events.register("before-send.ec2.RunInstances", self._refuse)
        events.register("response-received.ec2.RunInstances", self._lose)
        events.register("after-call.ec2.DescribeInstances", self._hide)

    def _refuse(self, request: Any, **_: object) -> AWSResponse | None:
        if not self.trouble or not self.troubles:
            return None
        self.troubles -= 1
        no = FACTS.refusal(self.trouble)
        said = f"<Code>{no.code}</Code><Message>as the test wants</Message>"
        text = f"<Response><Errors><Error>{said}</Error></Errors><RequestID>none</RequestID></Response>"
        return AWSResponse(request.url, no.status, {"Content-Type": "text/xml"}, Raw(text.encode()))

    def _lose(self, parsed_response: Any, **_: object) -> None:
        if self.lost and parsed_response and "Instances" in parsed_response:
            self.lost -= 1
            raise ConnectionClosedError(endpoint_url="the reply is lost, as the test wants")

    def _hide(self, parsed: Any, **_: object) -> None:
        known = RealWorld().now() - timedelta(seconds=self.lag)
        for row in parsed.get("Reservations", ()) if self.lag else ():
            row["Instances"] = [one for one in row["Instances"] if one["LaunchTime"] < known]


class RealBench(RealAccount):
    """Two clusters of fresh ids in the account that the environment names."""

    cannot: Mapping[str, str] = {
        "an_instance_in_error_says_why": "a scheduled retirement cannot be asked for",
        "after_an_error_the_next_attempt_works": "a scheduled retirement cannot be asked for",
        "a_failed_boot_leaves_evidence": "nobody but the machine writes to its console",
    }

    def __init__(self, region: str, *, many: int = 12, look: float = 3.0) -> None:
        """`many`: how many machines the check of many makes; `look`: seconds between two looks."""
        self._look = look
        world = RealWorld()
        self.beyond_a_page = many
        self.region = region
        self.settings = AwsSettings(region)
        self.between = Interference()
        self.clouds: list[AwsCloud] = []
        self.cloud: Cloud = self.restarted()
        self.machine: MachineSpec = AwsMachine(
            instance_type=ConfigVar("t3.small"), disk_type=ConfigVar("gp3")
        )
        self.ref, self.other = ClusterRef(ulid(world), "prod"), ClusterRef(ulid(world), "test")
        self.cluster = self._cluster(self.machine)
        self._ids = [ulid(world) for _ in range(many + 1)]
        self._foreign: list[str] = []
        self._borrowed: list[str] = []
        self._fetched = False

    @property
    def planted(self) -> tuple[Planted, ...]:
        wrong = AwsMachine(access_key_id=ConfigVar("AKIANOBODY"), secret_access_key=ConfigVar("wrong"))
        huge = AwsMachine(instance_type=ConfigVar("m5.24xlarge"))
        many = (model.WorkerPool(name="general", replicas=2000, machine=huge),)
        elsewhere = model.CloudChoice(aws=model.AwsCloud(region="eu-centrall-1"))
        machines = {
            "size": (AwsMachine(instance_type=ConfigVar("t3.medum")), "did you mean 't3.medium'"),
            "image": (AwsMachine(ami=ConfigVar("ami-0123456789abcdef0")), "no image ami-0123456789abcdef0"),
            "zone": (AwsMachine(availability_zone=ConfigVar(f"{self.region}x")), f"{self.region}a"),
            "subnet": (AwsMachine(subnet_id=ConfigVar("subnet-0123456789abcdef0")), "no subnet subnet-0123"),
            "credential": (wrong, "The security token included in the request is invalid"),
        }
        named = replace(self.cluster, metadata=ObjectMeta(name="prod" * 16))
        return (
            *(Planted(name, self._cluster(machine), words) for name, (machine, words) in machines.items()),
            Planted("quota", self._cluster(huge, workers=many), "the account may use"),
            Planted("region", cluster_of(self.machine, cloud=elsewhere), "did you mean 'eu-central-1'"),
            Planted("name", named, "cannot be called so here"),
        )

    def restarted(self) -> Cloud:
        made = AwsCloud(self.settings)
        self.between.attach(made.account)
        self.clouds.append(made)
        return made

    def trouble(self, what: Trouble, count: int) -> None:
        self.between.trouble, self.between.troubles = what, count

    def fail(self, instance: Instance) -> None:
        raise AssertionError(self.cannot["an_instance_in_error_says_why"])

    def break_down(self, instance: Instance) -> None:
        raise AssertionError(self.cannot["a_failed_boot_leaves_evidence"])

    def end(self, instance: Instance) -> None:
        self._bare("terminate_instances", InstanceIds=[instance.id])

    def user_data(self, instance: Instance) -> bytes:
        asked = {"InstanceId": instance.id, "Attribute": "userData"}
        return base64.b64decode(self._bare("describe_instance_attribute", **asked)["UserData"]["Value"])

    def stray(self) -> str:
        tags = tagged("volume", self.ref, self.clouds[0].account.world, "stray")
        zone = f"{self.region}a"
        made = self._bare("create_volume", AvailabilityZone=zone, Size=1, TagSpecifications=tags)
        return str(made["VolumeId"])

    def borrowed(self) -> str:
        specified = [{"ResourceType": "volume", "Tags": [{"Key": TAG_CLUSTER, "Value": self.ref.id}]}]
        made = self._bare(
            "create_volume", AvailabilityZone=f"{self.region}a", Size=1, TagSpecifications=specified
        )
        self._borrowed.append(str(made["VolumeId"]))
        return self._borrowed[-1]

    def remains(self, id: str) -> bool:
        return id in [row["VolumeId"] for row in self._bare("describe_volumes")["Volumes"]]

    def foreign(self, name: str) -> None:
        """In the default VPC, as somebody else's would be."""
        filters = [
            {"Name": "name", "Values": ["Flatcar-stable-*-hvm"]},
            {"Name": "architecture", "Values": ["x86_64"]},
        ]
        images = self._bare("describe_images", Owners=[FACTS.images.publisher], Filters=filters)["Images"]
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        wanted = {"ImageId": images[0]["ImageId"], "InstanceType": "t3.micro", "TagSpecifications": tags}
        made = self._bare("run_instances", MinCount=1, MaxCount=1, **wanted)
        self._foreign.append(made["Instances"][0]["InstanceId"])

    async def get(self, url: str) -> int:
        self._fetched = True
        return (await asyncio.to_thread(_answer, url))[0]

    async def read(self, url: str) -> bytes:
        return body_of(*await asyncio.to_thread(_answer, url))

    async def clean(self) -> None:
        """Remove everything, whatever a check left, and say so when that cannot be done."""
        self.between.troubles = self.between.lost = 0
        self._fetched, self.between.lag = False, 0.0
        if self._foreign:
            self._bare("terminate_instances", InstanceIds=self._foreign)
        for volume in self._borrowed:
            if self.remains(volume):
                self._bare("delete_volume", VolumeId=volume)
        for ref in (self.ref, self.other):
            await self.swept(ref)
        for cloud in self.clouds:
            await cloud.close()

    def _bare(self, operation: str, **parameters: object) -> Any:
        return getattr(self.clouds[0].account.session.client("ec2"), operation)(**parameters)

    def _cluster(self, machine: MachineSpec, **changes: Any) -> model.Cluster:
        here = model.CloudChoice(aws=model.AwsCloud(region=self.region))
        return cluster_of(machine, **{"cloud": here, **changes})


def _answer(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return int(reply.status), reply.read()
    except urllib.error.HTTPError as no:
        return no.code, b""
