"""Login keys for clouds that demand one where nobody shall log in with it."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BITS = 2048


@cache
def forgotten_key() -> str:
    """A public key as in authorized_keys, whose private half is forgotten at once; one for all of a process, since it
    takes up to a tenth of a second to make.

    RSA, since Azure took no other for long, and not all of its clouds do (docs: troubleshoot/azure/virtual-machines,
    ed25519-ssh-keys).
    """
    public = rsa.generate_private_key(public_exponent=65537, key_size=BITS).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
