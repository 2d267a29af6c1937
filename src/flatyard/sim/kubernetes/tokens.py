"""Bootstrap tokens as the simulated cluster keeps and checks them.

Follows "Authenticating with Bootstrap Tokens" of the Kubernetes documentation: Secrets of type
bootstrap.kubernetes.io/token in kube-system, removed by the token cleaner when they have expired.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flatyard.base.world import parse_stamp, rfc3339
from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.shelf import Change
from flatyard.sim.kubernetes.context import Context
from flatyard.sim.kubernetes.kubeadm import BootstrapToken, KubeadmError

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True)
class Known:
    """A token as its Secret has it."""

    id: str
    secret: str
    usages: tuple[str, ...]
    groups: tuple[str, ...]
    expires: datetime | None

    @classmethod
    def read(cls, secret: Object) -> Known:
        """The token in a Secret; what is missing or unreadable is empty."""
        data = _data(secret)
        usages = tuple(u for u in ("signing", "authentication") if data.get(f"usage-bootstrap-{u}") == "true")
        groups = tuple(g for g in data.get("auth-extra-groups", "").split(",") if g)
        return cls(
            data.get("token-id", ""),
            data.get("token-secret", ""),
            usages,
            groups,
            _stamp(data.get("expiration", "")),
        )


def _data(secret: Object) -> Mapping[str, str]:
    encoded: Mapping[str, str] = secret.raw.get("data") or {}
    plain: Mapping[str, str] = secret.raw.get("stringData") or {}
    return {**{key: base64.b64decode(value).decode() for key, value in encoded.items()}, **plain}


def _stamp(text: str) -> datetime | None:
    try:
        return parse_stamp(text) if text else None
    except ValueError:
        return None


class Tokens:
    """Checks tokens and removes expired ones."""

    def __init__(self, context: Context) -> None:
        self._context = context
        context.work.handle({"token": self.clean})

    def resume(self) -> None:
        for secret in self._context.objects(r.SECRETS).values():
            self._watch(secret)

    def observe(self, change: Change) -> None:
        if change.kind.resource == r.SECRETS and change.type is not EventType.DELETED:
            self._watch(change.object)

    def _watch(self, secret: Object) -> None:
        if secret.namespace != NAMESPACE or secret.raw.get("type") != TYPE:
            return
        expires = Known.read(secret).expires
        if expires is not None:
            left = -self._context.world.age(expires)
            self._context.work.add("token", f"{secret.name}@{rfc3339(expires)}", max(left, 0.0) + 1.0)

    def clean(self, key: str) -> None:
        """Remove a token that has expired; one that was extended has a timer of its own."""
        secret = self._context.get(r.SECRETS, NAMESPACE, key.partition("@")[0])
        if secret is None:
            return
        expires = Known.read(secret).expires
        if expires is not None and self._context.world.age(expires) >= 0:
            self._context.remove(r.SECRETS, secret)

    def find(self, token: str, usage: str) -> Known | None:
        """The token if it is known, has not expired and may be used so."""
        identity, _, secret = token.partition(".")
        found = self._context.get(r.SECRETS, NAMESPACE, f"bootstrap-token-{identity}")
        if found is None or found.deleting or found.raw.get("type") != TYPE:
            return None
        known = Known.read(found)
        late = known.expires is not None and self._context.world.age(known.expires) >= 0
        return known if known.secret == secret and not late and usage in known.usages else None

    def check_signed(self, token: str) -> None:
        """kubeadm's discovery: cluster-info must carry a signature by this token; raises KubeadmError."""
        if self.find(token, "signing") is None:
            identity = token.partition(".")[0]
            raise KubeadmError(
                "preflight",
                "couldn't validate the identity of the API Server: could not find a JWS signature in the cluster-info "
                f'ConfigMap for token ID "{identity}" (expired, deleted, or never made)',
            )

    def check_login(self, token: str) -> Known:
        """The kubelet's TLS bootstrap logs in by this token; raises KubeadmError."""
        found = self.find(token, "authentication")
        if found is None:
            raise KubeadmError(
                "kubelet-start", "error: failed to request the client certificate: Unauthorized"
            )
        return found


def secret(token: BootstrapToken, expires: str) -> Json:
    """The Secret that kubeadm init makes of a token."""
    identity, _, text = token.token.partition(".")
    data = {"token-id": identity, "token-secret": text}
    data |= {f"usage-bootstrap-{usage}": "true" for usage in token.usages}
    data["auth-extra-groups"] = ",".join(token.groups)
    if token.description:
        data["description"] = token.description
    if expires:
        data["expiration"] = expires
    return {
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": NAMESPACE},
        "type": TYPE,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
