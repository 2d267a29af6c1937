"""Keys and certificates as PEM, made from a World's bytes: the same world makes the same bytes.

EC P-256 throughout: small, fast, accepted by every part of Kubernetes. Signatures are deterministic (RFC 6979).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flatyard.base.world import World

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256's group (FIPS 186-5, D.1.2.3)."""
_BACKDATED = timedelta(minutes=5)
"""Certificates begin in the past, because machines' clocks differ."""
CA_LIFETIME = timedelta(days=3650)
CLIENT_LIFETIME = timedelta(hours=12)
SERVER_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def expires(self) -> datetime:
        """When the certificate ends, in UTC."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


@dataclass(frozen=True, slots=True)
class Authority(KeyPair):
    """A certificate authority."""

    @property
    def pin(self) -> str:
        """`sha256:HEX` of the public key (SubjectPublicKeyInfo), as kubeadm's caCertHashes wants it."""
        public = x509.load_pem_x509_certificate(self.certificate).public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    def client(
        self, name: str, organizations: Iterable[str], world: World, lifetime: timedelta = CLIENT_LIFETIME
    ) -> KeyPair:
        """A client certificate: to Kubernetes `name` is the user and `organizations` are the groups."""
        subject = subject_name(name, organizations)
        return self._issue(subject, world, lifetime, (ExtendedKeyUsageOID.CLIENT_AUTH,), ())

    def server(
        self, name: str, hosts: Iterable[str], world: World, lifetime: timedelta = SERVER_LIFETIME
    ) -> KeyPair:
        """A server certificate for DNS names and IP addresses."""
        return self._issue(
            subject_name(name), world, lifetime, (ExtendedKeyUsageOID.SERVER_AUTH,), tuple(hosts)
        )

    def _issue(
        self,
        subject: x509.Name,
        world: World,
        lifetime: timedelta,
        usages: tuple[x509.ObjectIdentifier, ...],
        hosts: tuple[str, ...],
    ) -> KeyPair:
        issuer = x509.load_pem_x509_certificate(self.certificate)
        key = new_key(world)
        builder = _builder(subject, issuer.subject, key, world, lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(_authority_id(issuer), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return KeyPair(_sign(builder, load_key(self.key)), private_pem(key))


def new_authority(name: str, world: World, lifetime: timedelta = CA_LIFETIME) -> Authority:
    """A self-signed authority as kubeadm would make it: common name `name`, the same as a DNS name."""
    key = new_key(world)
    builder = _builder(subject_name(name), subject_name(name), key, world, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return Authority(_sign(builder, key), private_pem(key))


def new_key(world: World) -> ec.EllipticCurvePrivateKey:
    """A P-256 key from 48 bytes, reduced with negligible bias (FIPS 186-5, A.2.1)."""
    number = int.from_bytes(world.random_bytes(48), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """`EC PRIVATE KEY`, the form that kubeadm itself writes."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """`PUBLIC KEY`."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key that `private_pem` wrote; raises ValueError for anything else."""
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key


def subject_name(common_name: str, organizations: Iterable[str] = ()) -> x509.Name:
    """A subject as Kubernetes reads it: the groups, then the user."""
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    world: World,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    now = world.now().replace(microsecond=0)
    serial = int.from_bytes(world.random_bytes(16), "big") | 1
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=serial,
        not_valid_before=now - _BACKDATED,
        not_valid_after=now + lifetime,
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.PEM)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=sign_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def general_name(host: str) -> x509.GeneralName:
    """An alternative name: of an IP address where `host` is one, else of a DNS name."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
