"""Certificate authorities, certificates, bootstrap tokens and kubeconfigs, all from a World's bytes."""

from __future__ import annotations

from flatyard.pki.keys import Authority, KeyPair, new_authority
from flatyard.pki.kubeconfig import Kubeconfig
from flatyard.pki.secrets import ADMIN, ADMIN_GROUP, ClusterSecrets, new_secrets
from flatyard.pki.tokens import (
    GROUP,
    SECRET_NAMESPACE,
    SECRET_TYPE,
    BootstrapToken,
    groups,
    new_token,
)

__all__ = [
    "ADMIN",
    "ADMIN_GROUP",
    "GROUP",
    "SECRET_NAMESPACE",
    "SECRET_TYPE",
    "Authority",
    "BootstrapToken",
    "ClusterSecrets",
    "KeyPair",
    "Kubeconfig",
    "groups",
    "new_authority",
    "new_secrets",
    "new_token",
]
