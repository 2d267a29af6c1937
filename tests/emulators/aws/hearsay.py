"""What was just made, and not every part of a service has heard of yet.

EC2 developer guide, "Eventual consistency in the Amazon EC2 API": a call that names what was just made may find that it
does not exist. IAM user guide, "Troubleshoot IAM": changes are not always visible at once. S3 and Elastic Load
Balancing are asked the same way here. A new VPC gateway: `InvalidSubnet: VPC … has no internet gateway`
(github.com/openshift/installer/issues/1110). Terraform, Cluster API and kOps wait for each of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MADE = {
    "CreateVpc": ("vpcId", "InvalidVpcID.NotFound"),
    "CreateSubnet": ("subnetId", "InvalidSubnetID.NotFound"),
    "CreateSecurityGroup": ("groupId", "InvalidGroup.NotFound"),
    "CreateInternetGateway": ("internetGatewayId", "InvalidInternetGatewayID.NotFound"),
    "CreateRouteTable": ("routeTableId", "InvalidRouteTableID.NotFound"),
    "CreateLoadBalancer": ("LoadBalancerArn", "LoadBalancerNotFound"),
    "CreateTargetGroup": ("TargetGroupArn", "TargetGroupNotFound"),
}
"""Of creates: where the answer has the new id, and how a call with it is refused."""
NAMED = {"CreateRole": "RoleName", "CreateInstanceProfile": "InstanceProfileName"}
"""Of IAM's creates: the parameter with the name."""
_SPELLED = {"GatewayId": "InvalidGatewayID.NotFound"}


@dataclass
class Refusal:
    code: str
    message: str


@dataclass
class Hearsay:
    """`times`: how often each new thing is unknown to calls that name it; 0 for everything at once."""

    times: int = 0
    left: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """By kind of parameter (for names) and id: how often yet, and the refusal's code."""

    def made(self, action: str, form: dict[str, str], body: str, bucket: str = "") -> None:
        """Note what a successful call has made."""
        if not self.times:
            return
        if bucket:
            self.left["bucket", bucket] = (self.times, "NoSuchBucket")
        if action in MADE:
            tag, code = MADE[action]
            for key in re.findall(f"<{tag}>([^<]+)</{tag}>", body)[:1]:
                self.left["", key] = (self.times, code)
        if action in NAMED:
            self.left[NAMED[action], form[NAMED[action]]] = (self.times, "NoSuchEntity")
        if action == "AttachInternetGateway":
            self.left["gateway", form["VpcId"]] = (self.times, "InvalidSubnet")

    def refusal(self, form: dict[str, str], bucket: str = "", vpc: str = "") -> Refusal | None:
        """Why a call is refused that names something new. `vpc`: where it wants a load balancer for the world."""
        for name, key in (*_named(form), ("bucket", bucket), ("gateway", vpc)):
            found = next((pair for pair in ((name, key), ("", key)) if pair in self.left), None)
            if found is None:
                continue
            times, code = self.left.pop(found)
            if times > 1:
                self.left[found] = (times - 1, code)
            what = f"VPC {key} has no internet gateway" if name == "gateway" else f"{key} does not exist"
            return Refusal(_SPELLED.get(name, code), what)
        return None


def _named(form: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What a call names; a filter finds nothing, and refuses nothing."""
    for name, value in form.items():
        if not name.startswith("Filter.") and name not in ("Action", "Name"):
            yield name.rpartition(".")[2], value
