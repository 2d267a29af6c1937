"""What a cluster gets: authorities that kubeadm takes as they are, short-lived clients, one token per machine."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from flatyard.base.errors import Failed
from flatyard.base.world import SIMULATED_EPOCH, RealWorld, SeededWorld, World
from flatyard.pki import (
    BootstrapToken,
    ClusterSecrets,
    Kubeconfig,
    groups,
    new_authority,
    new_secrets,
    new_token,
)
from flatyard.pki.keys import load_key


def seeded(seed: int = 1) -> World:
    return SeededWorld(seed, lambda: 0.0)


@pytest.fixture(scope="module")
def secrets() -> ClusterSecrets:
    return new_secrets(seeded())


def test_the_same_world_makes_the_same_bytes_and_another_seed_others(secrets: ClusterSecrets) -> None:
    assert new_secrets(seeded()).encode() == secrets.encode()
    other = new_secrets(seeded(2))
    assert not set(other.files().values()) & set(secrets.files().values())
    world = seeded(3)
    assert secrets.admin(seeded(3)) == secrets.admin(world)
    assert secrets.admin(world) != secrets.admin(world)


def test_the_real_world_never_repeats() -> None:
    world = RealWorld()
    assert new_secrets(world).encode() != new_secrets(world).encode()


def test_secrets_survive_the_store_and_garbage_is_told_apart(secrets: ClusterSecrets) -> None:
    assert ClusterSecrets.decode(secrets.encode()) == secrets
    for text in (b"", b"{}", b"[]", b"null", secrets.encode()[:-5], b'{"encryption": 3}'):
        with pytest.raises(Failed, match="cannot be read"):
            ClusterSecrets.decode(text)


@pytest.mark.parametrize(
    ("path", "name"), [("ca", "kubernetes"), ("etcd/ca", "etcd-ca"), ("front-proxy-ca",) * 2]
)
def test_authorities_look_as_kubeadm_makes_them(secrets: ClusterSecrets, path: str, name: str) -> None:
    certificate = x509.load_pem_x509_certificate(secrets.files()[f"{path}.crt"])
    assert certificate.subject.rfc4514_string() == f"CN={name}" == certificate.issuer.rfc4514_string()
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical and basic.value.ca
    assert usage.critical and usage.value.key_cert_sign and usage.value.digital_signature
    assert certificate.not_valid_before_utc < SIMULATED_EPOCH
    assert certificate.not_valid_after_utc - SIMULATED_EPOCH == timedelta(days=3650)
    certificate.verify_directly_issued_by(certificate)
    key = secrets.files()[f"{path}.key"]
    assert key.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    assert load_key(key).public_key() == certificate.public_key()


def test_the_service_account_pair_belongs_together(secrets: ClusterSecrets) -> None:
    files = secrets.files()
    assert load_key(files["sa.key"]).public_key() == load_pem_public_key(files["sa.pub"])


def test_the_pin_is_the_hash_of_the_cas_public_key(secrets: ClusterSecrets) -> None:
    public = x509.load_pem_x509_certificate(secrets.kubernetes.certificate).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert secrets.pin == "sha256:" + hashlib.sha256(der).hexdigest()


def test_an_admin_is_a_short_lived_client_in_the_masters_group(secrets: ClusterSecrets) -> None:
    pair = secrets.admin(seeded())
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(secrets.kubernetes.certificate))
    subject = {a.oid: a.value for a in certificate.subject}
    assert subject == {NameOID.ORGANIZATION_NAME: "system:masters", NameOID.COMMON_NAME: "flatyard-admin"}
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert pair.expires - SIMULATED_EPOCH == timedelta(hours=12)


def test_a_client_of_several_groups_names_each(secrets: ClusterSecrets) -> None:
    pair = secrets.kubernetes.client("ada", ("a", "b"), seeded())
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [attribute.value for attribute in found] == ["a", "b"]


@pytest.mark.parametrize("host", ["localhost", "kubernetes.default.svc", "127.0.0.1", "::1"])
def test_a_server_is_trusted_under_each_of_its_names(secrets: ClusterSecrets, host: str) -> None:
    from ipaddress import ip_address

    hosts = ("localhost", "kubernetes.default.svc", "127.0.0.1", "::1")
    pair = secrets.kubernetes.server("kube-apiserver", hosts, seeded())
    store = Store([x509.load_pem_x509_certificate(secrets.kubernetes.certificate)])
    subject = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
    builder = PolicyBuilder().store(store).time(SIMULATED_EPOCH)
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    assert builder.build_server_verifier(subject).verify(leaf, [])
    assert pair.expires - SIMULATED_EPOCH == timedelta(days=365)


def test_serial_numbers_are_positive_and_differ() -> None:
    world = seeded()
    serials = [
        x509.load_pem_x509_certificate(new_authority("x", world).certificate).serial_number for _ in range(20)
    ]
    assert len(set(serials)) == 20 and min(serials) > 0


@given(st.integers(0, 2**32))
def test_tokens_have_the_form_that_kubernetes_wants(seed: int) -> None:
    token = new_token(seeded(seed))
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token.text)
    assert BootstrapToken.parse(token.text) == token


@pytest.mark.parametrize(
    "text", ["", "abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde", "abcdef.0123456789abcdef\n"]
)
def test_other_texts_are_no_tokens_and_are_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="not a bootstrap token") as error:
        BootstrapToken.parse(text)
    assert not text or text not in str(error.value)


def test_a_tokens_secret_says_until_when_and_for_which_machine() -> None:
    token = BootstrapToken("abcdef", "0123456789abcdef")
    data = token.secret_data("01JABC", SIMULATED_EPOCH, "for worker-1")
    assert token.secret_name == "bootstrap-token-abcdef"
    assert dict(data) == {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "expiration": "2026-01-01T00:00:00Z",
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:flatyard,system:bootstrappers:flatyard:01jabc",
        "description": "for worker-1",
    }
    allowed = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
    assert all(allowed.fullmatch(group) for group in groups("01JABC"))


def test_a_kubeconfig_is_what_kubectl_reads(secrets: ClusterSecrets) -> None:
    import base64

    pair = secrets.admin(seeded())
    config = Kubeconfig("prod", "https://api.prod:6443", secrets.kubernetes.certificate, pair)
    parsed = yaml.safe_load(config.render())
    assert parsed["kind"] == "Config" and parsed["current-context"] == "admin@prod"
    cluster, context, user = (parsed[kind][0] for kind in ("clusters", "contexts", "users"))
    assert cluster["cluster"]["server"] == "https://api.prod:6443"
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}
    assert (
        base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == secrets.kubernetes.certificate
    )
    assert base64.b64decode(user["user"]["client-key-data"]) == pair.key
    with_token = Kubeconfig("prod", "https://x", b"ca", token="t0ken")
    assert yaml.safe_load(with_token.render())["users"][0]["user"] == {"token": "t0ken"}


def test_reprs_show_no_secrets(secrets: ClusterSecrets) -> None:
    token = new_token(seeded())
    pair = secrets.admin(seeded())
    config = Kubeconfig("prod", "https://x", b"ca", pair, token="t0ken")
    shown = repr(secrets) + str(secrets) + repr(token) + repr(pair) + repr(config)
    hidden = [secrets.encryption_key, token.secret.encode(), b"t0ken", pair.key]
    hidden += [text for path, text in secrets.files().items() if path.endswith(".key")]
    assert "PRIVATE KEY" not in shown
    assert not [h for h in hidden if h.decode("latin-1") in shown or repr(h) in shown]
