"""The machine room's window into the emulated EC2: bare boto3, and what the emulator tells beside its API."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from emulators.room import Seen, version_in
from flatyard.ignition.fetch import FetchError
from flatyard.sim.hardware import Hardware

REGION = "eu-central-1"
CONTROL = "http://127.0.0.1:5111/_emulator/"
EBS_DISK = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}-ns-1"
SIZES = {"t3.medium": (2, 4096), "m6i.large": (2, 8192)}


def devices(row: Mapping[str, Any], hypervisor: str) -> tuple[str, ...]:
    """The names of an instance's volumes in the initrd of Flatcar, where Ignition looks for them.

    Xen's block driver knows no sdX: they are xvdX (EC2 user guide, "Device names"). On Nitro Flatcar's udev rule makes
    links: by serial number, and of the name in the block device mapping as it is (flatcar/init 90-cloud-storage.rules,
    cloud_aws_ebs_nvme_id; in the initrd by flatcar/bootengine's ignition module). The kernel's own nvmeXn1 are left
    out: they are numbered as the volumes answer, so that a config that counts on one fails here.
    """
    found = []
    for disk in row["BlockDeviceMappings"]:
        name, serial = disk["DeviceName"], disk["Ebs"]["VolumeId"].replace("-", "")
        if hypervisor == "xen":
            found.append(name.replace("/dev/sd", "/dev/xvd"))
        else:
            found += [name, EBS_DISK.format(serial=serial)]
    return tuple(found)


def window() -> AwsWindow:
    return AwsWindow()


class AwsWindow:
    def __init__(self) -> None:
        session = boto3.Session(region_name=REGION)
        self._ec2, self._elb, self._s3 = (session.client(name) for name in ("ec2", "elbv2", "s3"))
        self._images: dict[str, Mapping[str, Any]] = {}
        self._types: dict[str, Mapping[str, Any]] = {}

    async def instances(self) -> tuple[Seen, ...]:
        return await asyncio.to_thread(self._instances)

    async def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        return await asyncio.to_thread(self._balancers)

    async def console(self, instance_id: str, more: str) -> None:
        await asyncio.to_thread(_say, "console", instance=instance_id, text=more)

    async def read(self, url: str) -> bytes:
        """As a machine's role reads s3://."""
        where = urlsplit(url)
        try:
            found = await asyncio.to_thread(
                self._s3.get_object, Bucket=where.netloc, Key=where.path.lstrip("/")
            )
        except ClientError as error:
            raise FetchError(f"failed to fetch resource: {error}") from None
        body: bytes = await asyncio.to_thread(found["Body"].read)
        return body

    def _instances(self) -> tuple[Seen, ...]:
        told = _say("instances")
        pages = self._ec2.get_paginator("describe_instances").paginate()
        rows = [row for page in pages for group in page["Reservations"] for row in group["Instances"]]
        return tuple(
            self._seen(row, told[row["InstanceId"]])
            for row in rows
            if row["InstanceId"] in told and row["State"]["Name"] in ("pending", "running", "stopped")
        )

    def _seen(self, row: Mapping[str, Any], told: Mapping[str, Any]) -> Seen:
        image = self._image(row["ImageId"])
        name = row["PrivateDnsName"]
        vcpus, memory = SIZES.get(row["InstanceType"], (2, 4096))
        zone = row["Placement"]["AvailabilityZone"]
        public = row.get("PublicIpAddress", "")
        tags = {tag["Key"]: tag["Value"] for tag in image.get("Tags", ())}
        hardware = Hardware(
            instance_id=row["InstanceId"],
            name=name,
            hostname=name,
            node_name=name,
            provider_id=f"aws:///{zone}/{row['InstanceId']}",
            region=REGION,
            zone=zone,
            addresses=(
                ("InternalIP", row["PrivateIpAddress"]),
                *([("ExternalIP", public)] if public else []),
            ),
            devices=devices(row, self._type(row["InstanceType"])["Hypervisor"]),
            arch={"x86_64": "amd64"}.get(image["Architecture"], image["Architecture"]),
            vcpus=vcpus,
            memory_mib=memory,
            image_version=tags.get("distribution_version") or version_in(image["Name"]),
            kubernetes=tags.get("kubernetes_version"),
            platform="aws",
            user_data=base64.b64decode(told["user_data"]),
        )
        return Seen(hardware, row["State"]["Name"] == "running", 1 + int(told["reboots"]))

    def _image(self, image_id: str) -> Mapping[str, Any]:
        if image_id not in self._images:
            self._images[image_id] = self._ec2.describe_images(ImageIds=[image_id])["Images"][0]
        return self._images[image_id]

    def _type(self, name: str) -> Mapping[str, Any]:
        if name not in self._types:
            self._types[name] = self._ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        return self._types[name]

    def _balancers(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for balancer in self._elb.describe_load_balancers()["LoadBalancers"]:
            if balancer["State"]["Code"] != "active":
                continue
            arn = balancer["LoadBalancerArn"]
            groups = self._elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
            found[balancer["DNSName"]] = tuple(
                target["Target"]["Id"]
                for group in groups
                for target in self._elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])[
                    "TargetHealthDescriptions"
                ]
            )
        return found


def _say(what: str, **asked: object) -> Any:
    body = json.dumps(asked).encode()
    with urllib.request.urlopen(CONTROL + what, data=body, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def inventory() -> dict[str, list[str]]:
    """All that is in the account and can cost or be in the way, as boto3 lists it."""
    session = boto3.Session(region_name=REGION)
    ec2, elb, iam, s3 = (session.client(name) for name in ("ec2", "elbv2", "iam", "s3"))
    rows = [row for group in ec2.describe_instances()["Reservations"] for row in group["Instances"]]
    return {
        "instances": [row["InstanceId"] for row in rows if row["State"]["Name"] != "terminated"],
        "volumes": [row["VolumeId"] for row in ec2.describe_volumes()["Volumes"]],
        "interfaces": [
            row["NetworkInterfaceId"] for row in ec2.describe_network_interfaces()["NetworkInterfaces"]
        ],
        "addresses": [row["AllocationId"] for row in ec2.describe_addresses()["Addresses"]],
        "groups": sorted(row["GroupId"] for row in ec2.describe_security_groups()["SecurityGroups"]),
        "networks": sorted(row["VpcId"] for row in ec2.describe_vpcs()["Vpcs"]),
        "subnets": sorted(row["SubnetId"] for row in ec2.describe_subnets()["Subnets"]),
        "gateways": sorted(
            row["InternetGatewayId"] for row in ec2.describe_internet_gateways()["InternetGateways"]
        ),
        "tables": sorted(row["RouteTableId"] for row in ec2.describe_route_tables()["RouteTables"]),
        "keys": [row["KeyName"] for row in ec2.describe_key_pairs()["KeyPairs"]],
        "balancers": [row["DNSName"] for row in elb.describe_load_balancers()["LoadBalancers"]],
        "targets": [row["TargetGroupName"] for row in elb.describe_target_groups()["TargetGroups"]],
        "roles": [row["RoleName"] for row in iam.list_roles()["Roles"]],
        "profiles": [row["InstanceProfileName"] for row in iam.list_instance_profiles()["InstanceProfiles"]],
        "buckets": [row["Name"] for row in s3.list_buckets()["Buckets"]],
    }


def bake(name: str, tags: Mapping[str, str]) -> str:
    """An image of the account's own; its id."""
    ec2 = boto3.Session(region_name=REGION).client("ec2")
    made: str = ec2.register_image(
        Name=name,
        Architecture="x86_64",
        RootDeviceName="/dev/xvda",
        VirtualizationType="hvm",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}],
    )["ImageId"]
    ec2.create_tags(Resources=[made], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    return made


def end(provider_id: str) -> None:
    """Somebody else terminates an instance."""
    ec2 = boto3.Session(region_name=REGION).client("ec2")
    ec2.terminate_instances(InstanceIds=[provider_id.rpartition("/")[2]])


if __name__ == "__main__":
    if sys.argv[1:2] == ["bake"]:
        print(bake(sys.argv[2], json.loads(sys.argv[3])))
    elif sys.argv[1:2] == ["end"]:
        end(sys.argv[2])
    else:
        print(json.dumps(inventory()))
