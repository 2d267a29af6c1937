"""Amazon's API for tests: moto, and around it what moto does not enforce.

Runs in the environment of lock.txt beside it: `python server.py PORT AMIS.json`. Its own clock can be set forward, so
that whoever waits for an instance, a load balancer or an expiry waits for nothing. Rules and where they are written:

ClientToken            EC2 API reference, "Ensuring idempotency": same token and parameters, same instance; the same
                       token with others is IdempotentParameterMismatch, and IdempotentInstanceTerminated (error
                       codes) once the instance is terminated
user data              EC2 user guide, "Run commands at launch": 16 KB before base64
DependencyViolation    EC2 API reference, error codes: security groups, subnets and gateways in use stay
states                 EC2 user guide, "Instance lifecycle": pending, running, shutting-down, terminated, gone
eventual consistency   EC2 developer guide: a list may not show what was just created; ids: hearsay.py
throttling, quotas     EC2 API reference, error codes: RequestLimitExceeded, VcpuLimitExceeded and their like
rates                  EC2 developer guide, "Request throttling": a bucket for each action (counted when a test says so)
pre-signed URLs        S3 API reference, "Authenticating requests: using query parameters"
spot                   EC2 API reference, SpotMarketOptions: persistent exactly when an interruption stops or hibernates
spot requests          EC2 API reference, DescribeSpotInstanceRequests: shown for four hours after they were cancelled
network interfaces     EC2: DeleteNetworkInterface of one in use is InvalidParameterValue, "is currently in use"
                       (github.com/gruntwork-io/cloud-nuke/pull/1132)
RegisterImage          EC2 API reference: architecture, root device and virtualization are as asked
load balancers         ELB API reference, CreateLoadBalancer: idempotent by name and settings; provisioning, then
                       active; only one subnet of each zone, as SetSubnets; names do not begin with internal-
target groups          ELB: "Health check interval must be greater than the timeout", whose default is 10 s for TCP and
                       HTTPS (ELB API reference, CreateTargetGroup)
VPC BPA                EC2 API reference, DescribeVpcBlockPublicAccessOptions, which moto does not know
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode
from xml.etree import ElementTree

from hearsay import Hearsay

ACCOUNT = "123456789012"
KEYS = {"AKIAEMULATOR": "emulated-secret"}
"""Access keys that work, besides those that the emulated IAM makes."""
USER_DATA_LIMIT = 16_384
TAKES = 1.0
"""Seconds on the emulator's clock until an instance runs or is terminated, and a load balancer is active."""
SHOWN = 3600.0
"""Seconds for which a terminated instance is listed."""
VCPUS = 640
RATES = {"RunInstances": (5, 2.0), "StartInstances": (5, 2.0), "TerminateInstances": (100, 5.0)}
READS, WRITES = (100, 20.0), (50, 5.0)
"""Sizes of buckets, and what they get in a second."""
KINDS = {
    "vpc-elastic-ip": "elastic-ip",
    "nat-gateway": "natgateway",
    "spot-instance-request": "spot-instances-request",
}
"""Moto's words for what tags are on, and EC2's (API reference, TagDescription)."""
Environ = dict[str, Any]
Start = Callable[..., Any]
PLUMBING = ("Signature", "SignatureVersion", "SignatureMethod", "Timestamp", "AWSAccessKeyId", "Version")


@dataclass
class Reply:
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status.startswith("2")


@dataclass
class Trouble:
    code: str
    status: int
    message: str
    count: int


@dataclass
class Launch:
    """What is true of an instance besides what moto knows."""

    region: str
    instance: Any
    groups: frozenset[str]
    subnet: str
    vpc: str
    user_data: bytes
    runs_at: float
    listed_at: float
    ends_at: float = 0.0
    reboots: int = 0
    gone: bool = False


@dataclass
class Account:
    """Everything that a test can set, and what has happened so far."""

    ahead: float = 0.0
    lag: float = 0.0
    faster: float = 0.0
    """How many times faster than a real account's the buckets fill; 0: calls are not counted."""
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What is left in an action's bucket, and when that was."""
    vcpus: int = VCPUS
    takes: float = TAKES
    troubles: dict[str, Trouble] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    launches: dict[str, Launch] = field(default_factory=dict)
    tokens: dict[str, tuple[str, str, Reply]] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    judged: dict[str, None] = field(default_factory=dict)
    """Actions that policies were asked about, in IAM's words."""
    active_at: dict[str, float] = field(default_factory=dict)
    blocks: str = "off"
    """What does not pass its internet gateways."""
    hearsay: Hearsay = field(default_factory=Hearsay)

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def wall(self) -> float:
        return time.time() + self.ahead


class Emulator:
    """A WSGI application around moto's. One request at a time."""

    def __init__(self, inner: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        self.inner = inner
        self.account = Account()
        self.lock = threading.Lock()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        with self.lock:
            reply = self.reply(environ)
        start(reply.status, reply.headers)
        return [reply.body]

    def reply(self, environ: Environ) -> Reply:
        path = environ["PATH_INFO"]
        if path.startswith("/_emulator/"):
            return self.control(environ, path.removeprefix("/_emulator/"))
        self.settle()
        form = read_form(environ)
        region, service = scope(environ)
        query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        if "X-Amz-Signature" in query:
            no = self.unsigned(environ, query)
            return no or self.ask(environ)
        if unknown_key(environ):
            return refused_key(service)
        action = form.get("Action", "") or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        self.account.calls[action or f"{service} {environ['REQUEST_METHOD']}"] += 1
        no = self.troubled(action, service) or self.metered(action, service)
        no = no or self.unheard(environ, form, region, service)
        if no:
            return no
        act = getattr(self, f"on_{action}", None)
        reply = act(environ, form, region) if act else self.ask(environ)
        if reply.ok and form.get("DryRun") != "true":
            self.account.hearsay.made(action, form, reply.body.decode(errors="replace"), new_bucket(environ))
        if self.account.lost[action] and reply.ok:
            self.account.lost[action] -= 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("the reply is lost, as the test wanted")
        return reply

    def ask(self, environ: Environ, form: dict[str, str] | None = None) -> Reply:
        """What moto answers."""
        if form is not None:
            body = urlencode(form).encode()
            environ = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        said: list[Any] = []
        parts = self.inner(environ, lambda status, headers, exc=None: said.extend((status, headers)))
        body = b"".join(parts)
        close = getattr(parts, "close", None)
        if close:
            close()
        return Reply(said[0], said[1], body)

    # ---- time

    def settle(self) -> None:
        """Let every instance and load balancer be as old as the clock says."""
        now = self.account.now()
        for key, launch in list(self.account.launches.items()):
            instance = launch.instance
            if launch.gone:
                continue
            if launch.ends_at and now >= launch.ends_at + SHOWN:
                launch.gone = True
                forget(launch.region, key)
            elif launch.ends_at:
                set_state(instance, *((48, "terminated") if now >= launch.ends_at else (32, "shutting-down")))
            elif instance._state.name == "pending" and now >= launch.runs_at:
                set_state(instance, 16, "running")
        for balancer in balancers():
            since = self.account.active_at.setdefault(balancer.arn, now + self.account.takes)
            balancer.activate = lambda: None
            balancer.state = "active" if now >= since else "provisioning"

    # ---- what moto would let pass

    def on_RunInstances(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        user_data = base64.b64decode(form.get("UserData", ""))
        if len(user_data) > USER_DATA_LIMIT:
            return error("ec2", 400, "InvalidParameterValue", "User data is limited to 16384 bytes")
        head = "InstanceMarketOptions.SpotOptions."
        keeps = form.get(f"{head}InstanceInterruptionBehavior") in ("hibernate", "stop")
        if keeps is not (form.get(f"{head}SpotInstanceType") == "persistent"):
            what = "persistent Spot requests are those that hibernate or stop"
            return error("ec2", 400, "InvalidParameterCombination", what)
        token = form.get("ClientToken", "")
        known = self.account.tokens.get(token) if token and form.get("DryRun") != "true" else None
        if known:
            return self.again(known, form, token)
        reply = self.ask(environ)
        if not reply.ok:
            return reply
        for key in re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", reply.body):
            self.launched(key.decode(), region, user_data)
            tag_ports(find(region, key.decode()), form)
        if token:
            key = re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", reply.body)[0].decode()
            self.account.tokens[token] = (digest(form), key, reply)
        return reply

    def launched(self, key: str, region: str, user_data: bytes) -> None:
        instance, now = find(region, key), self.account.now()
        set_state(instance, 0, "pending")
        groups = frozenset(group.id for nic in instance.nics.values() for group in nic.group_set)
        self.account.launches[key] = Launch(
            region,
            instance,
            groups or frozenset(group.id for group in instance.security_groups),
            instance.subnet_id or "",
            instance.vpc_id or "",
            user_data,
            now + self.account.takes,
            now + self.account.lag,
        )

    def again(self, known: tuple[str, str, Reply], form: dict[str, str], token: str) -> Reply:
        """A token for the second time: the same instance, as it is now."""
        told, key, reply = known
        if told != digest(form):
            what = f"The client token {token} was used with different request parameters"
            return error("ec2", 400, "IdempotentParameterMismatch", what)
        instance = find(self.account.launches[key].region, key)
        code, name = (instance._state.code, instance._state.name) if instance else (48, "terminated")
        if name == "terminated":
            what = f"The instance that the client token {token} launched was terminated"
            return error("ec2", 400, "IdempotentInstanceTerminated", what)
        state = f"<code>{code}</code><name>{name}</name>".encode()
        body = re.sub(rb"<code>0</code>\s*<name>pending</name>", state, reply.body)
        return Reply(reply.status, sized(reply.headers, body), body)

    def on_TerminateInstances(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        wanted = [form[name] for name in sorted(form) if name.startswith("InstanceId.")]
        leaving = [
            key for key in wanted if key in self.account.launches and self.account.launches[key].ends_at
        ]
        if wanted and leaving == wanted and all(find(region, key) for key in wanted):
            return plain("TerminateInstances", "<instancesSet/>")
        reply = self.ask(environ)
        if reply.ok:
            for key in wanted:
                self.end(key)
        return reply

    def end(self, key: str) -> None:
        launch = self.account.launches.get(key)
        if launch and not launch.ends_at:
            launch.ends_at = self.account.now() + self.account.takes
            set_state(find(launch.region, key), 32, "shutting-down")

    def on_DescribeInstances(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """Without what lists do not show yet; with the filter for client tokens, which moto does not know."""
        for name in [
            name for name, value in form.items() if value == "client-token" and name.endswith(".Name")
        ]:
            value = name.replace(".Name", ".Value.1")
            form = {**form, name: "instance-id", value: self.account.tokens.get(form[value], ("", "i-0"))[1]}
        now = self.account.now()
        young = {key for key, launch in self.account.launches.items() if launch.listed_at > now}
        reservations = backend(region).reservations
        hidden = {r: all(i.id in young for i in row.instances) for r, row in reservations.items()}
        aside = {r: reservations.pop(r) for r, out in hidden.items() if out}
        try:
            return self.ask(environ, form)
        finally:
            order = [*hidden]
            everything = {**reservations, **aside}
            reservations.clear()
            reservations.update({r: everything[r] for r in order})

    def on_CreateVpc(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """A dry run makes nothing (EC2 API reference, "DryRun"); moto makes it all the same, so it is taken back."""
        reply = self.ask(environ)
        if not reply.ok or form.get("DryRun") != "true":
            return reply
        made = re.findall(rb"<vpcId>(vpc-[0-9a-f]+)</vpcId>", reply.body)[0].decode()
        backend(region).delete_vpc(made)
        what = "Request would have succeeded, but DryRun flag is set."
        return error("ec2", 412, "DryRunOperation", what)

    def on_RegisterImage(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """With the architecture and the root device that were asked for, which moto leaves out."""
        reply = self.ask(environ)
        for key in re.findall(rb"<imageId>(ami-[0-9a-f]+)</imageId>", reply.body):
            image = backend(region).amis[key.decode()]
            image.architecture = form.get("Architecture", "i386")
            image.root_device_name = form.get("RootDeviceName", "")
            image.virtualization_type = form.get("VirtualizationType", "paravirtual")
        return reply

    def on_DeleteKeyPair(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """By its id, too (EC2 API reference, DeleteKeyPair); moto knows names alone."""
        reply, pairs = self.ask(environ), backend(region).key_pairs
        if reply.ok:
            for name in [name for name, pair in pairs.items() if pair.id == form.get("KeyPairId")]:
                del pairs[name]
        return reply

    def on_DescribeTags(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """Without those of what was deleted, which moto keeps; kinds as EC2 calls them."""
        there, tags = existing(region), backend(region).tags
        for key in [key for key in tags if key.split("-")[0] in there]:
            if key not in there[key.split("-")[0]]:
                del tags[key]
        reply = self.ask(environ)
        body = reply.body
        for theirs, real in KINDS.items():
            body = body.replace(f"<resourceType>{theirs}<".encode(), f"<resourceType>{real}<".encode())
        return Reply(reply.status, sized(reply.headers, body), body)

    def on_ListInstanceProfiles(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """Below the path prefix alone, which moto does not ask for."""
        reply = self.ask(environ)
        space = "{https://iam.amazonaws.com/doc/2010-05-08/}"
        root = ElementTree.fromstring(reply.body)
        for rows in root.iter(f"{space}InstanceProfiles"):
            for row in list(rows):
                if not (row.findtext(f"{space}Path") or "/").startswith(form.get("PathPrefix", "/")):
                    rows.remove(row)
        body = ElementTree.tostring(root)
        return Reply(reply.status, sized(reply.headers, body), body)

    def on_CancelSpotInstanceRequests(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        """They end, and are shown on with their tags, which moto forgets."""
        requests = backend(region).spot_instance_requests
        named = {value for name, value in form.items() if name.startswith("SpotInstanceRequestId.")}
        kept = {key: requests[key] for key in named if key in requests}
        reply = self.ask(environ)
        if reply.ok:
            for request in kept.values():
                request.state = "cancelled"
            requests.update(kept)
        return reply

    def on_DeleteNetworkInterface(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        key = form.get("NetworkInterfaceId", "")
        if key in {nic.id for _, launch in self.living() for nic in launch.instance.nics.values()}:
            what = f"Network interface '{key}' is currently in use."
            return error("ec2", 400, "InvalidParameterValue", what)
        return self.ask(environ)

    def on_RebootInstances(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        reply = self.ask(environ)
        for name, value in form.items():
            if reply.ok and name.startswith("InstanceId.") and value in self.account.launches:
                self.account.launches[value].reboots += 1
        return reply

    def on_GetConsoleOutput(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        reply = self.ask(environ)
        if not reply.ok:
            return reply
        text = base64.b64encode(self.account.consoles.get(form["InstanceId"], "").encode()).decode()
        return plain(
            "GetConsoleOutput", f"<instanceId>{form['InstanceId']}</instanceId><output>{text}</output>"
        )

    def on_DeleteSecurityGroup(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        group = form.get("GroupId", "")
        user = next((key for key, launch in self.living() if group in launch.groups), "")
        user = user or next((b.name for b in classic_balancers(region) if group in b.security_groups), "")
        user = user or next((n.id for n in detached(region) if group in {g.id for g in n.group_set}), "")
        user = user or next(
            (other for other, named in references(region) if group in named and other != group), ""
        )
        if user and form.get("DryRun") != "true":
            return error(
                "ec2", 400, "DependencyViolation", f"resource {group} has a dependent object ({user})"
            )
        return self.ask(environ)

    def on_DeleteSubnet(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        subnet = form.get("SubnetId", "")
        user = next((key for key, launch in self.living() if launch.subnet == subnet), "")
        user = user or next((b.arn for b in balancers(region) if subnet in subnets_of(b)), "")
        user = user or next((b.name for b in classic_balancers(region) if subnet in b.subnets), "")
        user = user or next((n.id for n in detached(region) if n.subnet.id == subnet), "")
        if user and form.get("DryRun") != "true":
            what = f"The subnet '{subnet}' has dependencies and cannot be deleted ({user})"
            return error("ec2", 400, "DependencyViolation", what)
        return self.ask(environ)

    def on_DetachInternetGateway(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        vpc = form.get("VpcId", "")
        used = any(launch.vpc == vpc for _, launch in self.living())
        used = used or any(b.vpc_id == vpc and b.scheme == "internet-facing" for b in balancers(region))
        if used and form.get("DryRun") != "true":
            what = f"Network {vpc} has some mapped public address(es). Please unmap those before detaching the gateway."
            return error("ec2", 400, "DependencyViolation", what)
        return self.ask(environ)

    def on_CreateTargetGroup(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        bare = form.get("HealthCheckProtocol", "TCP") == "HTTP"
        timeout = int(form.get("HealthCheckTimeoutSeconds", 6 if bare else 10))
        if int(form.get("HealthCheckIntervalSeconds", 30)) <= timeout:
            what = "Health check interval must be greater than the timeout."
            return error("elbv2", 400, "ValidationError", what)
        return self.ask(environ)

    def on_DescribeVpcBlockPublicAccessOptions(
        self, environ: Environ, form: dict[str, str], region: str
    ) -> Reply:
        self.account.judged["ec2:DescribeVpcBlockPublicAccessOptions"] = None
        mode = f"<internetGatewayBlockMode>{self.account.blocks}</internetGatewayBlockMode>"
        inside = f"<vpcBlockPublicAccessOptions>{mode}</vpcBlockPublicAccessOptions>"
        return plain("DescribeVpcBlockPublicAccessOptions", inside)

    def on_SetSubnets(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        return crowded(form, region) or self.ask(environ)

    def on_CreateLoadBalancer(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        no = crowded(form, region)
        if no:
            return no
        if form.get("Name", "").startswith("internal-"):
            what = f"Load balancer name '{form['Name']}' cannot begin with 'internal-'"
            return error("elbv2", 400, "ValidationError", what)
        there = next((b for b in balancers(region) if b.name == form.get("Name")), None)
        if there is None:
            return self.ask(environ)
        wanted = {value for name, value in form.items() if name.startswith("Subnets.member.")}
        alike = there.scheme == form.get("Scheme", "internet-facing") and subnets_of(there) == wanted
        if not alike:
            what = "A load balancer with the same name and different settings exists"
            return error("elbv2", 400, "DuplicateLoadBalancerName", what)
        names = {
            "Action": "DescribeLoadBalancers",
            "Version": form["Version"],
            "Names.member.1": form["Name"],
        }
        found = self.ask(environ, names)
        body = found.body.replace(b"DescribeLoadBalancers", b"CreateLoadBalancer")
        return Reply(found.status, sized(found.headers, body), body)

    def on_GetServiceQuota(self, environ: Environ, form: dict[str, str], region: str) -> Reply:
        self.account.judged["servicequotas:GetServiceQuota"] = None
        wanted = form.get("QuotaCode", "")
        values = {"L-1216C47A": self.account.vcpus, "L-34B43A08": self.account.vcpus, "L-F678F1CE": 5}
        if wanted not in values:
            said = {"__type": "NoSuchResourceException", "Message": f"there is no quota {wanted}"}
            return in_json(400, said)
        return in_json(200, {"Quota": {"QuotaCode": wanted, "Value": float(values[wanted])}})

    def living(self) -> list[tuple[str, Launch]]:
        now = self.account.now()
        return [(k, one) for k, one in self.account.launches.items() if not one.ends_at or one.ends_at > now]

    # ---- refusals

    def troubled(self, action: str, service: str) -> Reply | None:
        trouble = self.account.troubles.get(action)
        if not trouble or not trouble.count:
            return None
        trouble.count -= 1
        return error(service, trouble.status, trouble.code, trouble.message)

    def metered(self, action: str, service: str) -> Reply | None:
        """Each action of EC2 has a bucket of its own, which every call takes one token from."""
        if not self.account.faster or service != "ec2":
            return None
        size, refill = RATES.get(action) or (READS if action.startswith("Describe") else WRITES)
        now = time.monotonic()
        left, since = self.account.buckets.get(action, (float(size), now))
        left = min(size, left + (now - since) * refill * self.account.faster)
        self.account.buckets[action] = (left - 1 if left >= 1 else left, now)
        return None if left >= 1 else error("ec2", 503, "RequestLimitExceeded", "Request limit exceeded.")

    def unheard(self, environ: Environ, form: dict[str, str], region: str, service: str) -> Reply | None:
        bucket = "" if service != "s3" or new_bucket(environ) else bucket_in(environ)
        no = self.account.hearsay.refusal(form, bucket, vpc_of_balancer(form, region))
        return error(service, 404 if service in ("iam", "s3") else 400, no.code, no.message) if no else None

    def unsigned(self, environ: Environ, query: dict[str, str]) -> Reply | None:
        """What is wrong with a pre-signed URL."""
        begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if self.account.wall() > begun + int(query["X-Amz-Expires"]):
            return error("s3", 403, "AccessDenied", "Request has expired")
        secret = KEYS.get(query["X-Amz-Credential"].split("/")[0], "")
        if not secret or not hmac.compare_digest(signature(environ, query, secret), query["X-Amz-Signature"]):
            return error("s3", 403, "SignatureDoesNotMatch", "The request signature does not match")
        return None

    # ---- what tests set and read

    def control(self, environ: Environ, what: str) -> Reply:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        asked = json.loads(environ["wsgi.input"].read(length) or b"{}")
        done = getattr(self, f"control_{what.replace('-', '_')}", None)
        if done is None:
            return in_json(404, {"error": f"there is no control {what}"})
        return in_json(200, done(**asked) or {})

    def control_advance(self, seconds: float) -> None:
        self.account.ahead += seconds
        self.settle()

    def control_settle(self) -> None:
        """As far ahead as anything that is under way takes."""
        self.account.ahead += max(self.account.takes, self.account.lag)
        self.settle()

    def control_meter(self, faster: float) -> None:
        self.account.faster = faster
        self.account.buckets = {}

    def control_lag(self, seconds: float) -> None:
        self.account.lag = seconds

    def control_unheard(self, times: int) -> None:
        """How often from now on calls are refused that name what was just made."""
        self.account.hearsay.times = times

    def control_takes(self, seconds: float) -> None:
        """How long from now on an instance starts and ends, and a load balancer is being made."""
        self.account.takes = seconds

    def control_blocks(self, mode: str) -> None:
        self.account.blocks = mode

    def control_vcpus(self, count: int) -> None:
        self.account.vcpus = count

    def control_trouble(self, action: str, code: str, status: int, message: str, count: int) -> None:
        self.account.troubles[action] = Trouble(code, status, message, count)

    def control_lose(self, action: str, count: int) -> None:
        self.account.lost[action] = count

    def control_auth(self, on: bool) -> None:
        """Whether moto looks at policies. It knows actions, and of conditions and resources next to nothing."""
        from moto import settings
        from moto.core.responses import ActionAuthenticatorMixin
        from moto.iam.access_control import IAMRequestBase

        judge = getattr(IAMRequestBase, "judge", IAMRequestBase.check_action_permitted)

        def judged(request: Any, resource: str) -> None:
            self.account.judged[request._action] = None
            judge(request, resource)

        IAMRequestBase.judge, IAMRequestBase.check_action_permitted = judge, judged
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0 if on else float("inf")
        ActionAuthenticatorMixin.request_count = 0

    def control_console(self, instance: str, text: str) -> None:
        self.account.consoles[instance] = self.account.consoles.get(instance, "") + text

    def control_end(self, instance: str, code: str, message: str) -> None:
        """The cloud itself ends an instance, at once."""
        launch = self.account.launches[instance]
        row = find(launch.region, instance)
        row.terminate()
        row.state_reason.code, row.state_reason.message = code, message
        launch.ends_at = self.account.now()
        self.settle()

    def control_stop(self, instance: str, code: str, message: str) -> None:
        """The cloud itself stops an instance, as a scheduled retirement does."""
        row = find(self.account.launches[instance].region, instance)
        row.stop()
        row.state_reason.code, row.state_reason.message = code, message

    def control_launch(self, instance: str) -> dict[str, Any]:
        launch = self.account.launches[instance]
        return {"user_data": base64.b64encode(launch.user_data).decode(), "reboots": launch.reboots}

    def control_instances(self) -> dict[str, Any]:
        """Every instance that lives: its state and the user data that it got."""
        return {
            key: {
                "state": find(launch.region, key)._state.name,
                "user_data": base64.b64encode(launch.user_data).decode(),
                "reboots": launch.reboots,
            }
            for key, launch in self.living()
            if find(launch.region, key)
        }

    def control_calls(self) -> dict[str, int]:
        """How often each action was called since the last look."""
        counted = dict(self.account.calls)
        self.account.calls.clear()
        return counted

    def control_judged(self) -> dict[str, Any]:
        """The actions for which policies were looked at since the last reset."""
        return {"actions": list(self.account.judged)}

    def control_reset(self) -> None:
        from moto import backends

        for name in ("ec2", "elb", "elbv2", "iam", "s3", "sts"):
            backends.get_backend(name).reset()
        self.control_auth(False)
        self.account = Account()


# ---- moto's tables


def backend(region: str) -> Any:
    from moto.ec2.models import ec2_backends

    return ec2_backends[ACCOUNT][region]


def balancers(region: str = "") -> list[Any]:
    from moto.elbv2.models import elbv2_backends

    regions = elbv2_backends[ACCOUNT]
    return [
        b for name in list(regions) if region in ("", name) for b in regions[name].load_balancers.values()
    ]


def classic_balancers(region: str) -> list[Any]:
    from moto.elb.models import elb_backends

    return list(elb_backends[ACCOUNT][region].load_balancers.values())


def detached(region: str) -> list[Any]:
    """The network interfaces that hang on nothing."""
    return [nic for nic in backend(region).enis.values() if nic.status == "available" and not nic.instance]


def subnets_of(balancer: Any) -> set[str]:
    return {subnet.id for subnet in balancer.subnets}


def crowded(form: dict[str, str], region: str) -> Reply | None:
    """Why a load balancer does not take its subnets."""
    wanted = {value for name, value in form.items() if name.startswith("Subnets.member.")}
    zones = [subnet.availability_zone for key in wanted for subnet in subnet_rows(region) if subnet.id == key]
    if len(zones) == len(set(zones)):
        return None
    what = "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
    return error("elbv2", 400, "InvalidConfigurationRequest", what)


def subnet_rows(region: str) -> list[Any]:
    return [subnet for zone in backend(region).subnets.values() for subnet in zone.values()]


def vpc_of_balancer(form: dict[str, str], region: str) -> str:
    """The VPC in which a load balancer for the world is asked for."""
    if form.get("Action") != "CreateLoadBalancer" or form.get("Scheme") != "internet-facing":
        return ""
    first = form.get("Subnets.member.1", "")
    return next((subnet.vpc_id for subnet in subnet_rows(region) if subnet.id == first), "")


def bucket_in(environ: Environ) -> str:
    return str(environ["PATH_INFO"]).strip("/").partition("/")[0]


def new_bucket(environ: Environ) -> str:
    """The bucket that a call makes."""
    path, asked = str(environ["PATH_INFO"]).strip("/"), environ.get("QUERY_STRING", "")
    made = scope(environ)[1] == "s3" and environ["REQUEST_METHOD"] == "PUT" and "/" not in path and not asked
    return path if made else ""


def find(region: str, key: str) -> Any:
    rows = backend(region).reservations.values()
    return next((instance for row in rows for instance in row.instances if instance.id == key), None)


def tag_ports(instance: Any, form: dict[str, str]) -> None:
    """The tags for network interfaces, which moto leaves out."""
    for name, value in form.items():
        if name.endswith(".ResourceType") and value == "network-interface":
            head = name.removesuffix("ResourceType") + "Tag."
            keys = sorted(key for key in form if key.startswith(head) and key.endswith(".Key"))
            wanted = {form[key]: form.get(key.removesuffix("Key") + "Value", "") for key in keys}
            for nic in instance.nics.values():
                nic.add_tags(wanted)


def forget(region: str, key: str) -> None:
    reservations = backend(region).reservations
    for name, row in list(reservations.items()):
        row.instances[:] = [instance for instance in row.instances if instance.id != key]
        if not row.instances:
            del reservations[name]


def set_state(instance: Any, code: int, name: str) -> None:
    instance._state.code, instance._state.name = code, name


def existing(region: str) -> dict[str, set[str]]:
    """By the prefix of their ids, the resources that there are."""
    rows = backend(region)
    return {
        "vpc": set(rows.vpcs),
        "subnet": {key for zone in rows.subnets.values() for key in zone},
        "sg": {group.id for groups in list(rows.groups.values()) for group in groups.values()},
        "rtb": set(rows.route_tables),
        "igw": set(rows.internet_gateways),
        "vol": set(rows.volumes),
        "snap": set(rows.snapshots),
        "eipalloc": {address.allocation_id for address in rows.describe_addresses([], [], {})},
        "key": {pair.id for pair in rows.key_pairs.values()},
        "eni": set(rows.enis),
        "i": {one.id for row in rows.reservations.values() for one in row.instances},
        "sir": set(rows.spot_instance_requests),
    }


def references(region: str) -> list[tuple[str, set[str]]]:
    """Of each security group, the groups that its rules name."""
    found = []
    for groups in list(backend(region).groups.values()):
        for group in list(groups.values()):
            rules = [*group.ingress_rules, *group.egress_rules]
            named = {rule.source_group.get("GroupId", "") for rule in rules}
            found.append((group.id, named))
    return found


def unknown_key(environ: Environ) -> bool:
    found = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    if not found or found[1] in KEYS or found[1].startswith("ASIA"):
        return False
    from moto.iam.models import iam_backends

    users = iam_backends[ACCOUNT]["aws"].users.values()
    return not any(key.access_key_id == found[1] for user in users for key in user.access_keys)


# ---- the wire


def read_form(environ: Environ) -> dict[str, str]:
    """The form (or JSON object) of a request, which can be read again afterwards."""
    kind = environ.get("CONTENT_TYPE", "")
    if "x-www-form-urlencoded" not in kind and "json" not in kind:
        return {}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    if "json" in kind:
        return json.loads(body or b"{}")
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def scope(environ: Environ) -> tuple[str, str]:
    """Region and service that a request was signed for."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (found[1], found[2]) if found else ("us-east-1", "s3")


def digest(form: dict[str, str]) -> str:
    told = {key: value for key, value in form.items() if key not in PLUMBING}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def signature(environ: Environ, query: dict[str, str], secret: str) -> str:
    """What the signature of a pre-signed GET must be."""
    rest = {key: value for key, value in query.items() if key != "X-Amz-Signature"}
    asked = "&".join(f"{quote(key, safe='-_.~')}={quote(rest[key], safe='-_.~')}" for key in sorted(rest))
    names = query["X-Amz-SignedHeaders"].split(";")
    headers = "".join(f"{name}:{environ['HTTP_' + name.upper().replace('-', '_')]}\n" for name in names)
    path = quote(unquote(environ.get("RAW_URI", environ["PATH_INFO"]).split("?")[0]), safe="/-_.~")
    request = "\n".join(
        (environ["REQUEST_METHOD"], path, asked, headers, query["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD")
    )
    _, day, region, service, _ = query["X-Amz-Credential"].split("/")
    head = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{day}/{region}/{service}/aws4_request\n"
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = head + hashlib.sha256(request.encode()).hexdigest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def sized(headers: list[tuple[str, str]], body: bytes) -> list[tuple[str, str]]:
    rest = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return [*rest, ("Content-Length", str(len(body)))]


def plain(action: str, inside: str) -> Reply:
    space = "http://ec2.amazonaws.com/doc/2016-11-15/"
    body = (
        f'<{action}Response xmlns="{space}"><requestId>req-1</requestId>{inside}</{action}Response>'.encode()
    )
    return Reply("200 OK", sized([("Content-Type", "text/xml")], body), body)


def in_json(status: int, value: object) -> Reply:
    body = json.dumps(value).encode()
    kind = [("Content-Type", "application/x-amz-json-1.1")]
    return Reply(f"{status} {'OK' if status < 300 else 'No'}", sized(kind, body), body)


def refused_key(service: str) -> Reply:
    if service == "ec2":
        what = "AWS was not able to validate the provided access credentials"
        return error(service, 401, "AuthFailure", what)
    code = "InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId"
    return error(service, 403, code, "The security token included in the request is invalid.")


def error(service: str, status: int, code: str, message: str) -> Reply:
    """An error as each protocol of Amazon's spells it."""
    said = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "ec2":
        text = f"<Response><Errors><Error>{said}</Error></Errors><RequestID>req-1</RequestID></Response>"
    elif service == "s3":
        text = f"<Error>{said}<RequestId>req-1</RequestId></Error>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{said}</Error><RequestId>req-1</RequestId></ErrorResponse>"
    body = text.encode()
    return Reply(f"{status} No", sized([("Content-Type", "text/xml")], body), body)


def main(port: int, amis: str) -> None:
    os.environ.update(
        MOTO_AMIS_PATH=amis,
        MOTO_ENABLE_AMI_VALIDATION="1",
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="1",
        S3_IGNORE_SUBDOMAIN_BUCKETNAME="true",
        MOTO_PORT=str(port),
    )
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            return

    inner = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", port, Emulator(inner), threaded=True, request_handler=Handler)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
