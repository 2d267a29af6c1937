"""What tests say to the emulator of AWS beside its API, and the bench of the conformance suite on it."""

from __future__ import annotations

import base64
import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from emulators.stage import Stage
from flatyard.base.world import CROCKFORD
from flatyard.clouds.aws.cloud import AwsCloud
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import tagged
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine, MachineSpec
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

REGION = "eu-central-1"
FASTER = 20.0
"""How many times faster buckets fill than those of a real account: two hundred machines would take it two minutes."""
FAST = 2000.0
"""Calls in a second that the emulated account takes: it is told apart what it throttles."""


@cache
def _client(service: str, region: str, key: str) -> Any:
    """Made once for each key: reading a service's description takes half a second."""
    return boto3.Session(region_name=region).client(
        service, config=Config(signature_version="s3v4") if service == "s3" else None
    )


class Emulated:
    """The emulator, spoken to from inside its stage."""

    PORT = 5111
    ENVIRONMENT: ClassVar[Mapping[str, str]] = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
        "AWS_ACCESS_KEY_ID": "AKIAEMULATOR",
        "AWS_SECRET_ACCESS_KEY": "emulated-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def control(self, what: str, **asked: object) -> Any:
        """Say something to the emulator; also from threads that are in the stage already."""
        return self.stage.inside(lambda: self._post(what, asked))

    def client(self, service: str, region: str = REGION) -> Any:
        """A bare boto3 client with the environment's keys; its calls are for `stage.inside`."""
        return _client(service, region, os.environ["AWS_ACCESS_KEY_ID"])

    def call(self, service: str, operation: str, **parameters: object) -> Any:
        """One bare boto3 call in the stage."""
        return self.stage.inside(lambda: getattr(self.client(service), operation)(**parameters))

    def bake(self, name: str, tags: Mapping[str, str]) -> str:
        """An image of the account's own; its id."""
        disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
        given = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
        made = self.call("ec2", "register_image", Name=name, BlockDeviceMappings=[disk], **given)["ImageId"]
        if tags:
            pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
            self.call("ec2", "create_tags", Resources=[made], Tags=pairs)
        return str(made)

    def get(self, url: str) -> int:
        """The status that a GET of the URL has."""
        return self.fetch(url)[0]

    def fetch(self, url: str) -> tuple[int, bytes]:
        """The status and the body that a GET of the URL has."""
        parts = urlsplit(url)

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            reply = connection.getresponse()
            found = reply.status, reply.read()
            connection.close()
            return found

        return self.stage.inside(ask)

    def _post(self, what: str, asked: Mapping[str, object]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.PORT, timeout=30)
        connection.request("POST", f"/_emulator/{what}", json.dumps(asked))
        reply = connection.getresponse()
        said = json.loads(reply.read() or b"{}")
        connection.close()
        assert reply.status == http.client.OK, f"the emulator refused {what}: {said}"
        return said


class AwsBench:
    """Two clusters in one emulated account; waiting sets the emulator's clock forward."""

    beyond_a_page = 200
    cannot: Mapping[str, str] = {}

    def __init__(self, aws: Emulated) -> None:
        self.aws = aws
        self.settings = AwsSettings(REGION)
        self.clouds: list[AwsCloud] = []
        self.cloud: Cloud = self.restarted()
        self.machine: MachineSpec = AwsMachine(
            instance_type=ConfigVar("t3.medium"), disk_type=ConfigVar("gp3")
        )
        self.ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        self.other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
        self.cluster = cluster_of(self.machine)

    @property
    def planted(self) -> tuple[Planted, ...]:
        """One wrong thing each, in an account with room for few machines."""
        wrong = {
            "size": (AwsMachine(instance_type=ConfigVar("t3.medum")), "did you mean 't3.medium'"),
            "image": (AwsMachine(ami=ConfigVar("ami-0123456789abcdef0")), "no image ami-0123456789abcdef0"),
            "zone": (
                AwsMachine(availability_zone=ConfigVar(f"{REGION}x")),
                f"{REGION}a, {REGION}b, {REGION}c",
            ),
            "subnet": (
                AwsMachine(subnet_id=ConfigVar("subnet-0123456789abcdef0")),
                "no subnet subnet-0123456789abcdef0",
            ),
            "quota": (AwsMachine(instance_type=ConfigVar("m5.24xlarge")), "the account may use 640"),
            "credential": (
                AwsMachine(access_key_id=ConfigVar("AKIANOBODY"), secret_access_key=ConfigVar("wrong")),
                "The security token included in the request is invalid",
            ),
        }
        plants = [Planted(name, cluster_of(machine), words) for name, (machine, words) in wrong.items()]
        elsewhere = model.CloudChoice(aws=model.AwsCloud(region="eu-centrall-1"))
        nobody = model.CloudChoice(aws=model.AwsCloud(region=REGION, profile="nowhere"))
        many = (model.WorkerPool(name="general", replicas=7, machine=wrong["quota"][0]),)
        return (
            *[plant for plant in plants if plant.name != "quota"],
            Planted("quota", cluster_of(wrong["quota"][0], workers=many), wrong["quota"][1]),
            Planted(
                "subnet", self._nodes("10.0.0.0/29"), "10.0.0.0/29 cannot be a VPC with subnets in 3 zones"
            ),
            Planted("subnet", self._nodes("10.0.0.0/27"), "allowed: /16 to /26"),
            Planted("subnet", self._nodes("10.0.0.0/8"), "allowed: /16 to /26"),
            Planted("region", cluster_of(self.machine, cloud=elsewhere), "did you mean 'eu-central-1'"),
            Planted("credential", cluster_of(self.machine, cloud=nobody), "no AWS profile 'nowhere'"),
            Planted(
                "name",
                replace(self.cluster, metadata=ObjectMeta(name="prod" * 16)),
                "cannot be called so here",
            ),
        )

    def _nodes(self, cidr: str) -> model.Cluster:
        spec = replace(self.cluster.spec, network=model.Network(nodes=cidr))
        return replace(self.cluster, spec=spec)

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        made = AwsCloud(self.settings, per_second=FAST)
        self.clouds.append(made)
        return made

    async def close(self) -> None:
        for cloud in self.clouds:
            await cloud.close()

    def lose_replies(self, count: int) -> None:
        self.aws.control("lose", action="RunInstances", count=count)

    def trouble(self, what: Trouble, count: int) -> None:
        no = FACTS.refusal(what)
        message = no.message.format(name="t3.medium", zone="eu-central-1a", limit=5, used=5, wanted=2)
        asked = {"action": "RunInstances", "code": no.code, "status": no.status}
        self.aws.control("trouble", **asked, message=message, count=count)

    def meter(self, on: bool) -> None:
        self.aws.control("meter", faster=FASTER if on else 0)

    def lag(self, seconds: float) -> None:
        self.aws.control("lag", seconds=seconds)

    def fail(self, instance: Instance) -> None:
        reason = {"code": "Server.ScheduledStop", "message": "Stopped due to a scheduled retirement"}
        self.aws.control("stop", instance=instance.id, **reason)

    def end(self, instance: Instance) -> None:
        reason = {"code": "Server.SpotInstanceTermination", "message": "Spot capacity was taken back"}
        self.aws.control("end", instance=instance.id, **reason)

    def user_data(self, instance: Instance) -> bytes:
        return base64.b64decode(self.aws.control("launch", instance=instance.id)["user_data"])

    def stray(self) -> str:
        tags = tagged("volume", self.ref, self.clouds[0].account.world, "stray")
        zone = f"{REGION}a"
        made = self.aws.call("ec2", "create_volume", AvailabilityZone=zone, Size=1, TagSpecifications=tags)
        return str(made["VolumeId"])

    def borrowed(self) -> str:
        tags = [{"Key": TAG_CLUSTER, "Value": self.ref.id}]
        made = self.aws.call(
            "ec2",
            "create_volume",
            AvailabilityZone=f"{REGION}a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
        )
        return str(made["VolumeId"])

    def remains(self, id: str) -> bool:
        return id in [row["VolumeId"] for row in self.aws.call("ec2", "describe_volumes")["Volumes"]]

    def foreign(self, name: str) -> None:
        images = self.aws.call("ec2", "describe_images", Owners=[FACTS.images.publisher])["Images"]
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        image = {"ImageId": images[0]["ImageId"], "InstanceType": "t3.medium"}
        self.aws.call("ec2", "run_instances", MinCount=1, MaxCount=1, TagSpecifications=tags, **image)

    def break_down(self, instance: Instance) -> None:
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        self.aws.control("console", instance=instance.id, text=format_report(report))

    async def wait(self, seconds: float) -> None:
        self.aws.control("advance", seconds=seconds)

    async def get(self, url: str) -> int:
        return self.aws.get(url)

    async def read(self, url: str) -> bytes:
        return body_of(*self.aws.fetch(url))


def body_of(status: int, body: bytes) -> bytes:
    """The body of an answer that is one."""
    if status != http.client.OK:
        raise FetchError(f"HTTP status {status}")
    return body


def cluster_of(machine: MachineSpec, **changes: object) -> model.Cluster:
    """A small cluster of such machines in the emulated region."""
    spec = model.ClusterSpec(
        cloud=model.CloudChoice(aws=model.AwsCloud(region=REGION)),
        control_plane=model.ControlPlane(replicas=1, machine=machine),
        workers=(model.WorkerPool(name="general", replicas=2, machine=machine),),
    )
    return model.Cluster(metadata=ObjectMeta(name="prod"), spec=replace(spec, **changes))
