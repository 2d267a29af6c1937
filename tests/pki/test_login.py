"""Login keys that open nothing."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from flatyard.pki.login import forgotten_key


def test_a_forgotten_key_is_one_that_every_cloud_takes_and_another_in_each_process() -> None:
    first = forgotten_key()
    assert forgotten_key() == first
    forgotten_key.cache_clear()
    second = forgotten_key()
    public = load_ssh_public_key(first.encode())
    assert isinstance(public, RSAPublicKey) and public.key_size == 2048
    assert first != second and "\n" not in first
