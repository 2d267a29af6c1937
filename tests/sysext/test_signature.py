"""Signatures: those of the real authority, and everything that a liar can try with one of our own."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

import pytest
from cryptography import x509

from flatyard.sysext.signature import FULCIO, KUBERNETES_IDENTITY, Signer, WrongSignature, verify

# A certificate of Sigstore's public authority and an attestation that was signed with it, from a public repository's
# documentation (github.com/salrashid123, April 2023): they show that the authority below is the real one.
REAL_CERTIFICATE = b"""-----BEGIN CERTIFICATE-----
MIIC7DCCAnGgAwIBAgIUP/gfA424adGyCQ+pqtgk9EFArv8wCgYIKoZIzj0EAwMw
NzEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MR4wHAYDVQQDExVzaWdzdG9yZS1pbnRl
cm1lZGlhdGUwHhcNMjMwNDIxMTkxMzU3WhcNMjMwNDIxMTkyMzU3WjAAMFkwEwYH
KoZIzj0CAQYIKoZIzj0DAQcDQgAEr+4blIF5iJh3Dk5CTVcxntnGMNZTcP2jF3R1
l2K0QEzHm4nFDNNEFu3Kzma+xbToymuPw1gFfrwikhQPWCfmCqOCAZAwggGMMA4G
A1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAzAdBgNVHQ4EFgQUHM7P
340gJ0zPq2MMfT5d+YnkQsswHwYDVR0jBBgwFoAU39Ppz1YkEZb5qNjpKFWixi4Y
ZD8wPwYDVR0RAQH/BDUwM4ExY29zaWduQGNvc2lnbi10ZXN0LTM4NDQxOS5pYW0u
Z3NlcnZpY2VhY2NvdW50LmNvbTApBgorBgEEAYO/MAEBBBtodHRwczovL2FjY291
bnRzLmdvb2dsZS5jb20wKwYKKwYBBAGDvzABCAQdDBtodHRwczovL2FjY291bnRz
Lmdvb2dsZS5jb20wgYsGCisGAQQB1nkCBAIEfQR7AHkAdwDdPTBqxscRMmMZHhyZ
ZzcCokpeuN48rf+HinKALynujgAAAYelPMy/AAAEAwBIMEYCIQDZ+eKZfAWKr9e/
MX4ugLxUNX8sLXdaUXLcqe9jGGq5EwIhAMwMTFvMQLt37sjRCz+boytrgVVeGwzW
rfG7kvHuus7mMAoGCCqGSM49BAMDA2kAMGYCMQCnNhQ9DgNDTjn4rf5/2Zrwh35c
DzCQwH2uMywJ+gnLTtighpqucqd1bh8iSZQJ4ocCMQCA4mzcZQd5wIiLzVkj9FNp
7G3Uy5+mTPelwp7hWJSbHTgcv+Y9NEvZQ2XlZcQQrW8=
-----END CERTIFICATE-----
"""
REAL_PAYLOAD = base64.b64decode(
    "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjAuMSIsInByZWRpY2F0ZVR5cGUiOiJjb3NpZ24uc2lnc3RvcmUuZGV2L2F0"
    "dGVzdGF0aW9uL3YxIiwic3ViamVjdCI6W3sibmFtZSI6InVzLWNlbnRyYWwxLWRvY2tlci5wa2cuZGV2L2Nvc2lnbi10ZXN0LTM4NDQxOS9yZXBv"
    "MS9zZWN1cmVidWlsZCIsImRpZ2VzdCI6eyJzaGEyNTYiOiI1Y2UyZDhjZDhlMzY2ZDc2Y2UwMTJlZGMzNDZkYWViMTVhNTY0M2MyNmI5YjI0YTJi"
    "NzMxZTk3YTk5YzZkZTUyIn19XSwicHJlZGljYXRlIjp7IkRhdGEiOiJ7IFwicHJvamVjdGlkXCI6IFwiY29zaWduLXRlc3QtMzg0NDE5XCIsIFwi"
    "YnVpbGRpZFwiOiBcImQxYzIyMTg5LTEwMDItNDA0Mi04ZGI0LTBlNjRjYzY0ZmRkMFwiLCBcImZvb1wiOlwiYmFyXCIsIFwiY29tbWl0c2hhXCI6"
    "IFwiZjgzZGY1MjVkOWJkZjYyZDAyMzkwMzJkNmVmNDRlNTk5NGNlNmMzNVwiLCBcIm5hbWVfaGFzaFwiOiBcIiQoY2F0IC93b3Jrc3BhY2UvbmFt"
    "ZV9oYXNoLnR4dClcIn0iLCJUaW1lc3RhbXAiOiIyMDIzLTA0LTIxVDE5OjEzOjU4WiJ9fQ=="
)
REAL_SIGNATURE = (
    b"MEQCIB/E4XfCHTFqQ7zsyhp8jESqSFBov0ddh+xxK7JPtQrWAiBLHVjcwAewD55FeAEL4eaO3wcG5CPwkPUhV/guLklbVg=="
)
_TYPE = b"application/vnd.in-toto+json"
REAL_SHA256 = hashlib.sha256(
    b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE, len(REAL_PAYLOAD), REAL_PAYLOAD)
).hexdigest()
BODY_SHA256 = hashlib.sha256(b"a kubelet").hexdigest()


def test_the_authority_is_the_public_one_a_root_and_what_it_issued() -> None:
    root, intermediate = x509.load_pem_x509_certificates(FULCIO.encode())
    root.verify_directly_issued_by(root)
    intermediate.verify_directly_issued_by(root)
    assert root.subject.rfc4514_string() == "CN=sigstore,O=sigstore.dev"


def test_a_real_signature_is_right_for_its_real_signer() -> None:
    signer = Signer(identity="cosign@cosign-test-384419.iam.gserviceaccount.com")
    signed = verify("it", REAL_SHA256, REAL_SIGNATURE, REAL_CERTIFICATE, signer)
    assert signed == datetime(2023, 4, 21, 19, 13, 57, tzinfo=UTC)


def test_a_real_signature_of_somebody_else_is_not_kubernetes() -> None:
    with pytest.raises(WrongSignature, match="is not signed as Kubernetes") as problem:
        verify("it", REAL_SHA256, REAL_SIGNATURE, REAL_CERTIFICATE)
    assert "cosign@cosign-test-384419" in problem.value.why and KUBERNETES_IDENTITY in problem.value.why


def test_our_own_authority_signs_as_it_does(signing) -> None:
    signature, certificate = signing.sign(b"a kubelet")
    assert verify("kubelet", BODY_SHA256, signature, certificate, signing.signer)
    pem = base64.b64decode(certificate)
    assert verify("kubelet", BODY_SHA256, signature, pem, signing.signer), "also as bare PEM"


LIES: dict[str, tuple[dict[str, object], str]] = {
    "another key's certificate": ({"mixed": True}, "of other bytes, or of another key"),
    "a certificate that it issued itself": ({"self_issued": True}, "its certificate is not from"),
    "another account": ({"identity": "eve@example.org"}, "signed by eve@example.org"),
    "two accounts": ({"also": "eve@example.org"}, "eve@example.org"),
    "another issuer": ({"issuer": "https://evil.example"}, "https://evil.example vouched"),
    "no issuer": ({"issuer": ""}, "nobody vouched"),
    "not for code": ({"for_code": False}, "not for signing code"),
    "from before its authority": ({"begins": datetime(2019, 1, 1, tzinfo=UTC)}, "2019-01-01"),
    "after its authority": ({"begins": datetime(2040, 1, 1, tzinfo=UTC)}, "2040-01-01"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_liar_can_try(lie, signing) -> None:
    how, words = LIES[lie]
    signature, certificate = signing.sign(b"a kubelet", **how)
    with pytest.raises(WrongSignature) as problem:
        verify("kubelet v1.34.3", BODY_SHA256, signature, certificate, signing.signer)
    assert words in problem.value.why and problem.value.what.startswith("kubelet v1.34.3")


def test_other_bytes_and_junk_are_refused(signing) -> None:
    signature, certificate = signing.sign(b"another kubelet")
    with pytest.raises(WrongSignature, match="kubelet"):
        verify("kubelet", BODY_SHA256, signature, certificate, signing.signer)
    for junk in (b"", b"not base64!", b"aGVsbG8=", b"-----BEGIN CERTIFICATE-----\n"):
        with pytest.raises(WrongSignature) as problem:
            verify("kubelet", BODY_SHA256, signature, junk, signing.signer)
        assert re.search("certificate is none", problem.value.why)
        with pytest.raises(WrongSignature):
            verify("kubelet", BODY_SHA256, junk, certificate, signing.signer)


def test_the_authority_itself_signs_nothing(signing) -> None:
    """A chain is root, then issuer, then signer: the root's own certificate is no signer's."""
    signature, _ = signing.sign(b"a kubelet")
    root = (
        signing.signer.authority.encode().split(b"-----END CERTIFICATE-----\n")[0]
        + b"-----END CERTIFICATE-----\n"
    )
    with pytest.raises(WrongSignature):
        verify("kubelet", BODY_SHA256, signature, root, signing.signer)
