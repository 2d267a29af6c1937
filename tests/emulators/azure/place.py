"""The Azure Resource Manager emulator on a stage: how it is started, reached and told what to do."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emulators.stage import Stage

TESTS = Path(__file__).resolve().parent.parent.parent
ARM = "https://127.0.0.1:5443"
PLAIN = "http://127.0.0.1:5080"
CONTROL = f"{PLAIN}/_emulator"
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT, SECRET = "33333333-3333-3333-3333-333333333333", "emulated-secret"
FEDERATED = "emulated-federated-token"
MACHINES = r"PUT .*/virtualMachines/[^/]+"


@dataclass(frozen=True)
class Arm:
    """A running emulator. Its methods are called inside the stage; see arm/control.py for what each does."""

    stage: Stage
    ca: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a user's environment says to reach this cloud."""
        return {
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_AUTHORITY_HOST": ARM,
            "AZURE_RESOURCE_MANAGER_ENDPOINT": ARM,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": PLAIN,
            "REQUESTS_CA_BUNDLE": str(self.ca),
            "SSL_CERT_FILE": str(self.ca),
        }

    def ask(self, name: str, /, **given: object) -> Any:
        request = urllib.request.Request(
            f"{CONTROL}/{name}", data=json.dumps(given).encode(), headers={"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.loads(answer.read())["result"]

    def reset(self) -> None:
        self.ask("reset")

    def resources(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.ask("resources"))

    def trouble(self, kind: str, count: int, match: str = MACHINES) -> None:
        self.ask("trouble", kind=kind, count=count, match=match)

    def lose(self, count: int, match: str = MACHINES, when: str = "after") -> None:
        self.ask("lose", count=count, match=match, when=when)

    def lag(self, seconds: float) -> None:
        self.ask("lag", seconds=seconds)

    def fail(self, vm: str, code: str = "", words: str = "") -> None:
        """The machine's last operation failed so, and it has power; by default its start, and it has none."""
        self.ask("fail", id=vm, code=code, words=words)

    def end(self, vm: str) -> None:
        self.ask("end", id=vm)

    def stop(self, vm: str) -> None:
        self.ask("stop", id=vm)

    def user_data(self, vm: str) -> bytes:
        return base64.b64decode(self.ask("user_data", id=vm))

    def say(self, vm: str, text: str) -> None:
        self.ask("say", id=vm, text=text)

    def boots(self, vm: str) -> int:
        """How often it has booted: 1, and one more with every restart."""
        return int(self.ask("boots", id=vm))

    def quota(self, location: str, name: str, limit: int) -> None:
        self.ask("quota", location=location, name=name, limit=limit)

    def deny(self, action: str, scope: str = "") -> None:
        self.ask("deny", action=action, scope=scope)

    def allow(self) -> None:
        self.ask("allow")

    def role(
        self, client: str, definition: Mapping[str, object], scope: str = "/", *, more: bool = False
    ) -> None:
        """From now on its only role, or one `more`."""
        self.ask("role", client=client, definition=definition, scope=scope, more=more)

    def client(self, client: str, *, secret: str = "", certificate: str = "", federated: str = "") -> None:
        self.ask("client", id=client, secret=secret, certificate=certificate, federated=federated)

    def speed(self, factor: float) -> None:
        self.ask("speed", factor=factor)

    def durations(self, **given: float) -> None:
        self.ask("durations", **given)

    def throttle(self, on: bool) -> None:
        self.ask("throttle", on=on)

    def calls(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.ask("calls"))

    def forget(self) -> None:
        self.ask("forget")

    def withdraw(self, size: str, location: str, zone: str = "") -> None:
        self.ask("withdraw", size=size, location=location, zone=zone)

    def publish(self, sku: str, version: str) -> None:
        self.ask("publish", sku=sku, version=version)

    def tag(self, version: str, controllers: str) -> None:
        """What a version's images say that they boot from, `SCSI, NVMe`."""
        self.ask("tag", version=version, controllers=controllers)

    def plain(self, size: str) -> None:
        """Machines of a size take no Premium disks."""
        self.ask("plain", size=size)

    def controllers(self, size: str, controllers: str) -> None:
        """Which disks machines of a size have."""
        self.ask("controllers", size=size, controllers=controllers)

    def unpublish(self, version: str, location: str) -> None:
        self.ask("unpublish", version=version, location=location)

    def outbound(self, vm: str) -> str:
        """How a machine reaches the internet: address, nat-gateway, load-balancer; "" where it does not."""
        return str(self.ask("outbound", id=vm))

    def inbound(self, vm: str, port: int, source: str, protocol: str = "Tcp") -> bool:
        """Whether a packet from Internet, VirtualNetwork, AzureLoadBalancer or an address gets to a machine."""
        return bool(self.ask("inbound", id=vm, port=port, source=source, protocol=protocol))

    def behind(self, address: str, port: int) -> list[str]:
        """Machines that a packet from the internet to a load balancer's address and port may end at."""
        return list(self.ask("behind", address=address, port=port))

    def unregister(self, namespace: str) -> None:
        """The subscription is not registered for a namespace such as Microsoft.Compute."""
        self.ask("unregister", namespace=namespace)

    def policy(self, name: str) -> None:
        """The subscription is under one of arm/policies.py."""
        self.ask("policy", name=name)

    def age(self, seconds: float) -> None:
        """Everything that is there becomes so much older."""
        self.ask("age", seconds=seconds)


def start(stage: Stage, *, blobs: bool = False) -> Arm:
    """Start it on a stage; `blobs`: with Azurite behind its storage accounts."""
    ca = certificates(stage.folder)
    if blobs:
        from emulators.azure.blob.azurite import start_azurite

        start_azurite(stage)
    command = [sys.executable, "-m", "emulators.azure.arm.server", str(stage.folder)]
    stage.start("arm", command, port=5443, environment={"PYTHONPATH": str(TESTS)})
    return Arm(stage, ca)


def certificates(folder: Path) -> Path:
    """A CA in ca.pem, and what the servers show in cert.pem and key.pem."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulated Azure")])
    key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate(issuer, key.public_key(), issuer, key, authority=True)
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    leaf = _certificate(subject, own.public_key(), issuer, key, authority=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(pem) + ca.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem"


def _certificate(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    start = datetime.datetime(2020, 1, 1)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2060))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())
