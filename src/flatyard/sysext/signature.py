"""Whether Kubernetes' release process signed a file: cosign's keyless signatures, as far as they can be checked alone.

Checked: the signature against the certificate's key; the certificate against Sigstore's authority, whose certificates
are below; the identity that the authority saw (the release process' own account), and who vouched for it. Not checked,
since it needs Sigstore's services: that the certificate and the signature stand in the transparency logs, and so that
the signature was made in the ten minutes for which the certificate was valid. Whoever stole a key of those ten minutes
could sign later without being noticed here; `cosign verify-blob` would notice.

Sources: kubernetes.io, Verify Signed Kubernetes Artifacts (identity and issuer); sigstore/fulcio, docs/oid-info.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from flatyard.base.errors import Failed

KUBERNETES_IDENTITY = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com"
KUBERNETES_ISSUER = "https://accounts.google.com"
_OLD_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""The issuer as bare text."""
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""The issuer as a DER string."""

FULCIO = """\
-----BEGIN CERTIFICATE-----
MIIB9zCCAXygAwIBAgIUALZNAPFdxHPwjeDloDwyYChAO/4wCgYIKoZIzj0EAwMw
KjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTAeFw0y
MTEwMDcxMzU2NTlaFw0zMTEwMDUxMzU2NThaMCoxFTATBgNVBAoTDHNpZ3N0b3Jl
LmRldjERMA8GA1UEAxMIc2lnc3RvcmUwdjAQBgcqhkjOPQIBBgUrgQQAIgNiAAT7
XeFT4rb3PQGwS4IajtLk3/OlnpgangaBclYpsYBr5i+4ynB07ceb3LP0OIOZdxex
X69c5iVuyJRQ+Hz05yi+UF3uBWAlHpiS5sh0+H2GHE7SXrk1EC5m1Tr19L9gg92j
YzBhMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRY
wB5fkUWlZql6zJChkyLQKsXF+jAfBgNVHSMEGDAWgBRYwB5fkUWlZql6zJChkyLQ
KsXF+jAKBggqhkjOPQQDAwNpADBmAjEAj1nHeXZp+13NWBNa+EDsDP8G1WWg1tCM
WP/WHPqpaVo0jhsweNFZgSs0eE7wYI4qAjEA2WB9ot98sIkoF3vZYdd3/VtWB5b9
TNMea7Ix/stJ5TfcLLeABLE4BNJOsQ4vnBHJ
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIICGjCCAaGgAwIBAgIUALnViVfnU0brJasmRkHrn/UnfaQwCgYIKoZIzj0EAwMw
KjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTAeFw0y
MjA0MTMyMDA2MTVaFw0zMTEwMDUxMzU2NThaMDcxFTATBgNVBAoTDHNpZ3N0b3Jl
LmRldjEeMBwGA1UEAxMVc2lnc3RvcmUtaW50ZXJtZWRpYXRlMHYwEAYHKoZIzj0C
AQYFK4EEACIDYgAE8RVS/ysH+NOvuDZyPIZtilgUF9NlarYpAd9HP1vBBH1U5CV7
7LSS7s0ZiH4nE7Hv7ptS6LvvR/STk798LVgMzLlJ4HeIfF3tHSaexLcYpSASr1kS
0N/RgBJz/9jWCiXno3sweTAOBgNVHQ8BAf8EBAMCAQYwEwYDVR0lBAwwCgYIKwYB
BQUHAwMwEgYDVR0TAQH/BAgwBgEB/wIBADAdBgNVHQ4EFgQU39Ppz1YkEZb5qNjp
KFWixi4YZD8wHwYDVR0jBBgwFoAUWMAeX5FFpWapesyQoZMi0CrFxfowCgYIKoZI
zj0EAwMDZwAwZAIwPCsQK4DYiZYDPIaDi5HFKnfxXx6ASSVmERfsynYBiX2X6SJR
nZU84/9DZdnFvvxmAjBOt6QpBlc4J/0DxvkTCqpclvziL6BCCPnjdlIB3Pu3BxsP
mygUY7Ii2zbdCdliiow=
-----END CERTIFICATE-----
"""
"""Sigstore's public authority: root first, each next one issued by the one before. Valid until October 2031."""


class WrongSignature(Failed):
    """A file is not signed by whom it should be."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature is wanted, and which authority vouches for it: PEM certificates, the root first."""

    identity: str = KUBERNETES_IDENTITY
    issuer: str = KUBERNETES_ISSUER
    authority: str = FULCIO


def verify(
    name: str, sha256: str, signature: bytes, certificate: bytes, signer: Signer | None = None
) -> datetime:
    """Check a signature over bytes with this sha256 (hexadecimal); when its certificate was issued.

    `signature` is base64 of an ECDSA signature in DER, `certificate` PEM or base64 of it, as cosign writes both.
    `name` is for the message. Raises WrongSignature.
    """
    signer = signer or Signer()
    leaf = _certificate(name, certificate)
    _check_chain(name, leaf, x509.load_pem_x509_certificates(signer.authority.encode()))
    _check_identity(name, leaf, signer)
    _check_signature(name, leaf, sha256, signature)
    return leaf.not_valid_before_utc


def _wrong(name: str, why: str) -> WrongSignature:
    return WrongSignature(
        f"{name} is not signed as Kubernetes releases are",
        why=why,
        next="another mirror; --no-signature where a mirror has no signatures and you trust it",
    )


def _certificate(name: str, certificate: bytes) -> x509.Certificate:
    try:
        given = certificate.strip()
        pem = given if given.startswith(b"-----") else base64.b64decode(given, validate=True)
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, binascii.Error):
        raise _wrong(name, "what came as its certificate is none") from None


def _check_chain(name: str, leaf: x509.Certificate, authority: Sequence[x509.Certificate]) -> None:
    """From the leaf up to the root, all of them valid when the leaf was issued."""
    moment = leaf.not_valid_before_utc
    chain = [*authority, leaf]
    for issuer, issued in zip(chain[:1] + chain, chain, strict=False):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _wrong(
                name, f"its certificate is not from {authority[-1].subject.rfc4514_string()}"
            ) from None
        if not issued.not_valid_before_utc <= moment <= issued.not_valid_after_utc:
            raise _wrong(name, f"its certificate is from {moment:%Y-%m-%d}, when its authority was not valid")
    if not _signs_code(leaf):
        raise _wrong(name, "its certificate is not for signing code")


def _signs_code(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usage


def _check_identity(name: str, leaf: x509.Certificate, signer: Signer) -> None:
    try:
        names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        assert isinstance(names, x509.SubjectAlternativeName)
        identities = [str(one.value) for one in names]
    except (x509.ExtensionNotFound, ValueError):
        identities = []
    if identities != [signer.identity]:
        raise _wrong(name, f"it is signed by {', '.join(identities) or 'nobody'}, not by {signer.identity}")
    issuer = _issuer(leaf)
    if issuer != signer.issuer:
        raise _wrong(name, f"{issuer or 'nobody'} vouched for its signer, not {signer.issuer}")


def _issuer(leaf: x509.Certificate) -> str:
    values = {
        one.oid: one.value.value
        for one in leaf.extensions
        if isinstance(one.value, x509.UnrecognizedExtension)
    }
    if _ISSUER in values:  # DER: a tag, a length below 128, the text
        return values[_ISSUER][2:].decode("utf-8", "replace")
    return values.get(_OLD_ISSUER, b"").decode("utf-8", "replace")


def _check_signature(name: str, leaf: x509.Certificate, sha256: str, signature: bytes) -> None:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _wrong(name, "its certificate has no ECDSA key")
    try:
        given = base64.b64decode(signature.strip(), validate=True)
        key.verify(given, bytes.fromhex(sha256), ec.ECDSA(Prehashed(hashes.SHA256())))
    except (ValueError, InvalidSignature):
        raise _wrong(name, "the signature is of other bytes, or of another key") from None
