"""Certificate signing requests (PKCS#10, RFC 2986) as a kubelet writes them: reading them strictly, and writing them.

Who approves a request and who signs it read the same bytes with different parsers. So `read_request` takes only
what both can read in one way: a single PEM block without anything around it, one subject, one list of alternative
names, no other attribute or extension.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from flatyard.base.world import World
from flatyard.pki.keys import general_name, new_key, subject_name

LARGEST = 16 * 1024
"""Bytes of a request's text; a kubelet's has about 500."""
_BLOCK = re.compile(
    r"-----BEGIN CERTIFICATE REQUEST-----\n([A-Za-z0-9+/=\n]+)\n-----END CERTIFICATE REQUEST-----\n?"
)
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
_LEAST_RSA_BITS = 2048


class KeyKind(StrEnum):
    """The kinds of keys that kubelets make, as far as their certificates' usages differ."""

    EC = "EC"
    RSA = "RSA"


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a request asks for: whose name, and for which DNS names and IP addresses (in their shortest form)."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    key: KeyKind


def read_request(pem: bytes) -> SigningRequest:
    """Read a request whose signature proves that the sender has the key.

    Raises ValueError, with a sentence that says what is wrong, for everything that a kubelet would not write.
    """
    request = _parsed(_der(pem))
    extensions = _extensions(request)
    common_name, organizations = _subject(request.subject)
    dns_names, addresses = _alternative_names(extensions)
    return SigningRequest(common_name, organizations, dns_names, addresses, _key_kind(request))


def new_request(name: str, organizations: Iterable[str], hosts: Iterable[str], world: World) -> bytes:
    """A request for `name` in `organizations`, good for `hosts` (DNS names and IP addresses), by a fresh key."""
    builder = x509.CertificateSigningRequestBuilder(subject_name(name, organizations))
    names = [general_name(host) for host in hosts]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(new_key(world), hashes.SHA256(), ecdsa_deterministic=True)
    return request.public_bytes(Encoding.PEM)


def _der(pem: bytes) -> bytes:
    if len(pem) > LARGEST:
        raise ValueError(f"it has {len(pem)} bytes, {LARGEST} are allowed")
    try:
        found = _BLOCK.fullmatch(pem.decode("ascii"))
        if found is None:
            raise ValueError("it is not exactly one PEM block CERTIFICATE REQUEST")
        return base64.b64decode(found[1].replace("\n", ""), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        raise ValueError("it is no PEM text") from None


def _parsed(der: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_der_x509_csr(der)
        if request.public_bytes(Encoding.DER) != der:
            raise ValueError("its encoding is not canonical")
        if request.is_signature_valid:
            return request
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"it cannot be read as PKCS#10: {error}") from None
    raise ValueError("its signature is not by its own key")


def _extensions(request: x509.CertificateSigningRequest) -> x509.Extensions:
    attributes = [attribute.oid for attribute in request.attributes]
    if attributes not in ([], [_EXTENSION_REQUEST]):
        raise ValueError(f"it has attributes besides one list of extensions: {_dotted(attributes)}")
    try:
        extensions = request.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"its extensions cannot be read: {error}") from None
    others = [e.oid for e in extensions if not isinstance(e.value, x509.SubjectAlternativeName)]
    if others:
        raise ValueError(f"it asks for extensions besides alternative names: {_dotted(others)}")
    return extensions


def _dotted(oids: Iterable[x509.ObjectIdentifier]) -> str:
    return ", ".join(oid.dotted_string for oid in oids)


def _subject(subject: x509.Name) -> tuple[str, tuple[str, ...]]:
    names = [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    texts = [text for text in (*names, *groups) if isinstance(text, str)]
    if len(names) != 1 or len(texts) != len(list(subject)):
        raise ValueError(f"its subject is not one common name and organizations: {subject.rfc4514_string()}")
    return texts[0], tuple(texts[1:])


def _alternative_names(extensions: x509.Extensions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    dns_names: list[str] = []
    addresses: list[str] = []
    for extension in extensions:
        assert isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value:
            if isinstance(name, x509.DNSName):
                dns_names.append(name.value)
            elif isinstance(name, x509.IPAddress):
                addresses.append(str(name.value))
            else:
                raise ValueError(f"it asks for {type(name).__name__} {name.value}, which no node has")
    return tuple(dns_names), tuple(addresses)


def _key_kind(request: x509.CertificateSigningRequest) -> KeyKind:
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"its key cannot be read: {error}") from None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyKind.EC
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return KeyKind.RSA
    raise ValueError(f"its key is neither elliptic nor RSA of at least {_LEAST_RSA_BITS} bits")
