"""What a cluster's control planes share and nobody else may see."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from flatyard.base.errors import Failed
from flatyard.base.world import World
from flatyard.pki.keys import (
    CLIENT_LIFETIME,
    Authority,
    KeyPair,
    new_authority,
    new_key,
    private_pem,
    public_pem,
)

ADMIN = "flatyard-admin"
ADMIN_GROUP = "system:masters"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ClusterSecrets:
    """Authorities, the service account key pair and the key for encryption at rest of one cluster.

    Kept in the store, where they are sealed, and given to control planes only.
    """

    kubernetes: Authority
    etcd: Authority
    front_proxy: Authority
    service_account_public: bytes
    service_account_key: bytes = field(repr=False)
    encryption_key: bytes = field(repr=False)
    """32 bytes for the secretbox provider."""

    @property
    def pin(self) -> str:
        """`sha256:HEX` of the cluster's CA, for kubeadm's caCertHashes."""
        return self.kubernetes.pin

    def admin(self, world: World, lifetime: timedelta = CLIENT_LIFETIME) -> KeyPair:
        """A client certificate of a cluster administrator; short-lived, and made anew rather than kept."""
        return self.kubernetes.client(ADMIN, (ADMIN_GROUP,), world, lifetime)

    def files(self) -> Mapping[str, bytes]:
        """Contents by path below kubeadm's certificatesDir, in kubeadm's names."""
        return {
            "ca.crt": self.kubernetes.certificate,
            "ca.key": self.kubernetes.key,
            "etcd/ca.crt": self.etcd.certificate,
            "etcd/ca.key": self.etcd.key,
            "front-proxy-ca.crt": self.front_proxy.certificate,
            "front-proxy-ca.key": self.front_proxy.key,
            "sa.key": self.service_account_key,
            "sa.pub": self.service_account_public,
        }

    def encode(self) -> bytes:
        """As JSON, for the store."""
        fields: dict[str, object] = {path: text.decode() for path, text in self.files().items()}
        encryption = base64.b64encode(self.encryption_key).decode()
        return json.dumps({"format": _FORMAT, "encryption": encryption, **fields}, indent=1).encode()

    @classmethod
    def decode(cls, text: bytes) -> ClusterSecrets:
        """What `encode` wrote; raises Failed for anything else."""
        try:
            fields = json.loads(text)
            pem = {name: str(fields[name]).encode() for name in _PATHS}
            encryption = base64.b64decode(fields["encryption"], validate=True)
        except (ValueError, KeyError, TypeError):
            raise Failed(
                "the cluster's secrets in the store cannot be read", next="restore them from a backup"
            ) from None
        return cls(
            Authority(pem["ca.crt"], pem["ca.key"]),
            Authority(pem["etcd/ca.crt"], pem["etcd/ca.key"]),
            Authority(pem["front-proxy-ca.crt"], pem["front-proxy-ca.key"]),
            pem["sa.pub"],
            pem["sa.key"],
            encryption,
        )


_PATHS = (
    "ca.crt",
    "ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
    "sa.pub",
)


def new_secrets(world: World) -> ClusterSecrets:
    """Secrets for a new cluster, with the names that kubeadm gives its authorities."""
    kubernetes = new_authority("kubernetes", world)
    etcd = new_authority("etcd-ca", world)
    front_proxy = new_authority("front-proxy-ca", world)
    account = new_key(world)
    return ClusterSecrets(
        kubernetes, etcd, front_proxy, public_pem(account), private_pem(account), world.random_bytes(32)
    )
