"""Certificate signing requests: what a kubelet writes is read, and nothing that two parsers could read in two ways."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from flatyard.base.world import SeededWorld
from flatyard.pki.keys import new_key
from flatyard.pki.requests import LARGEST, KeyKind, SigningRequest, new_request, read_request
from pki.kubelet_requests import GO_CLIENT, GO_RSA, GO_SERVING

WORLD = SeededWorld(1, lambda: 0.0)
KEY = new_key(WORLD)
NODES = ("system:nodes",)
SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, "system:node:a2"),
    ]
)


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER value."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")
MICROSOFT_EXTENSIONS = bytes.fromhex("060a2b060104018237020114")
CHALLENGE_PASSWORD = bytes.fromhex("06092a864886f70d010907")
ALTERNATIVE_NAMES = bytes.fromhex("0603551d11")
ECDSA_SHA256 = tlv(0x30, bytes.fromhex("06082a8648ce3d040302"))


def names(*dns: str) -> bytes:
    """An extension with DNS names."""
    listed = tlv(0x30, *(tlv(0x82, name.encode()) for name in dns))
    return tlv(0x30, ALTERNATIVE_NAMES, tlv(0x04, listed))


def attribute(oid: bytes, *extensions: bytes) -> bytes:
    return tlv(0x30, oid, tlv(0x31, tlv(0x30, *extensions)))


def armoured(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    lines = base64.b64encode(der).decode()
    wrapped = "\n".join(lines[i : i + 64] for i in range(0, len(lines), 64))
    return f"-----BEGIN {label}-----\n{wrapped}\n-----END {label}-----\n".encode()


def signed(*attributes: bytes, subject: bytes = SUBJECT.public_bytes()) -> bytes:
    """A request built by hand, with any attributes, well signed."""
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = tlv(0x30, tlv(0x02, b"\0"), subject, public, tlv(0xA0, *attributes))
    signature = KEY.sign(info, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return armoured(tlv(0x30, info, ECDSA_SHA256, tlv(0x03, b"\0", signature)))


def built(*extensions: x509.ExtensionType, subject: x509.Name = SUBJECT, key=KEY) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def test_requests_made_by_go_are_read():
    expected = SigningRequest("system:node:a2", NODES, (), (), KeyKind.EC)
    assert read_request(GO_CLIENT) == expected
    assert read_request(GO_SERVING) == SigningRequest(
        "system:node:a2", NODES, ("a2",), ("10.124.0.22",), KeyKind.EC
    )
    assert read_request(GO_RSA) == SigningRequest(
        "system:node:a2", NODES, ("a2",), ("10.124.0.22", "fd00::22"), KeyKind.RSA
    )


def test_our_own_requests_are_read():
    made = new_request("system:node:w1", NODES, ("w1", "fd00:0::1", "10.0.0.4"), WORLD)
    assert read_request(made) == SigningRequest(
        "system:node:w1", NODES, ("w1",), ("fd00::1", "10.0.0.4"), KeyKind.EC
    )
    assert read_request(new_request("system:node:w1", NODES, (), WORLD)).dns_names == ()


def test_requests_by_hand_are_read_too():
    """What follows is refused for what it says, not for how it was made."""
    assert read_request(signed(attribute(EXTENSION_REQUEST, names("a2")))).dns_names == ("a2",)
    assert read_request(signed()).dns_names == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "exactly one PEM block"),
        (b"hello", "exactly one PEM block"),
        (b"\xff\xfe", "no PEM text"),
        (b" " * (LARGEST + 1), "bytes"),
        (GO_CLIENT + GO_SERVING, "exactly one PEM block"),
        (b"first\n" + GO_CLIENT, "exactly one PEM block"),
        (GO_CLIENT + b"last\n", "exactly one PEM block"),
        (GO_CLIENT.replace(b"-----\nMI", b"-----\nProc-Type: 4\n\nMI"), "exactly one PEM block"),
        (GO_CLIENT.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"), "exactly one PEM block"),
        (GO_CLIENT.replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"), "exactly one PEM block"),
        (GO_CLIENT.replace(b"MIHs", b"MIH"), "no PEM text"),
        (armoured(b"\x30\x00"), "PKCS#10"),
        (armoured(b""), "exactly one PEM block"),
    ],
)
def test_what_is_no_request_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        read_request(text)


def test_a_signature_by_another_key_is_refused():
    der = base64.b64decode(b"".join(GO_CLIENT.splitlines()[1:-1]))
    renamed = der.replace(b"system:node:a2", b"system:node:b2")
    with pytest.raises(ValueError, match="signature"):
        read_request(armoured(renamed))


@pytest.mark.parametrize(
    "attributes",
    [
        (attribute(EXTENSION_REQUEST, names("a2")), attribute(EXTENSION_REQUEST, names("b2"))),
        (attribute(MICROSOFT_EXTENSIONS, names("b2")),),
        (attribute(MICROSOFT_EXTENSIONS, names("a2")), attribute(EXTENSION_REQUEST, names("b2"))),
        (tlv(0x30, CHALLENGE_PASSWORD, tlv(0x31, tlv(0x0C, b"secret"))),),
        (tlv(0x30, EXTENSION_REQUEST, tlv(0x31, tlv(0x30, names("a2")), tlv(0x30, names("b2")))),),
        (attribute(EXTENSION_REQUEST, names("a2"), names("b2")),),
    ],
)
def test_names_in_more_than_one_place_are_refused(attributes):
    """The signer might take those that the approver did not see."""
    with pytest.raises(ValueError, match=r"attributes|PKCS#10|extensions"):
        read_request(signed(*attributes))


def test_other_alternative_names_and_extensions_are_refused():
    email = x509.SubjectAlternativeName([x509.DNSName("a2"), x509.RFC822Name("root@a2.test")])
    address = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://prod/a2")])
    for extension in (email, address):
        with pytest.raises(ValueError, match="which no node has"):
            read_request(built(extension))
    with pytest.raises(ValueError, match=r"besides alternative names: 2\.5\.29\.19"):
        read_request(built(x509.BasicConstraints(ca=True, path_length=None)))


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        ((NameOID.ORGANIZATION_NAME, "system:nodes"),),
        ((NameOID.COMMON_NAME, "system:node:a2"), (NameOID.COMMON_NAME, "system:node:b2")),
        ((NameOID.COMMON_NAME, "system:node:a2"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "x")),
    ],
)
def test_strange_subjects_are_refused(pairs):
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])
    with pytest.raises(ValueError, match="subject"):
        read_request(built(subject=subject))


def test_other_keys_are_refused():
    key = ed25519.Ed25519PrivateKey.from_private_bytes(WORLD.random_bytes(32))
    with pytest.raises(ValueError, match="neither elliptic nor RSA"):
        read_request(built(key=key))


@given(st.binary(max_size=400))
def test_no_bytes_are_anything_but_a_request_or_a_sentence(noise):
    for text in (noise, armoured(noise)):
        with pytest.raises(ValueError, match="it"):
            read_request(text)


DER = base64.b64decode(b"".join(GO_SERVING.splitlines()[1:-1]))


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_no_changed_byte_is_taken(position, change):
    """Every byte is signed, signs, or frames what is."""
    changed = bytearray(DER)
    changed[position] ^= change
    with pytest.raises(ValueError, match="it"):
        read_request(armoured(bytes(changed)))


@given(st.integers(0, len(GO_SERVING) - 1), st.integers(0, 127))
def test_a_changed_letter_changes_nothing_or_is_refused(position, letter):
    changed = bytearray(GO_SERVING)
    changed[position] = letter
    try:
        found = read_request(bytes(changed))
    except ValueError:
        return
    assert found == read_request(GO_SERVING)
