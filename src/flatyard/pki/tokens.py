"""Bootstrap tokens: one per machine, with a group of its own (Kubernetes, "Authenticating with Bootstrap Tokens")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from flatyard.base.world import World, rfc3339

GROUP = "system:bootstrappers:flatyard"
"""Every joining machine's group: what the base manifests bind kubeadm's roles to."""
SECRET_NAMESPACE = "kube-system"
SECRET_TYPE = "bootstrap.kubernetes.io/token"

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_FAIR = 256 // len(_ALPHABET) * len(_ALPHABET)
_FORM = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")


@dataclass(frozen=True, slots=True)
class BootstrapToken:
    """A token `id.secret`; the id is public, and names the Secret that Kubernetes keeps of it."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The whole token."""
        return f"{self.id}.{self.secret}"

    @property
    def secret_name(self) -> str:
        """The Secret's name in kube-system."""
        return f"bootstrap-token-{self.id}"

    @classmethod
    def parse(cls, text: str) -> BootstrapToken:
        """A token from its text; raises ValueError (without the text) for another form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("not a bootstrap token: six and sixteen of a-z0-9, joined by a dot")
        return cls(match[1], match[2])

    def secret_data(self, machine_id: str, expires: datetime, description: str = "") -> Mapping[str, str]:
        """`stringData` of the Secret that makes the API accept this token until `expires`."""
        data = {
            "token-id": self.id,
            "token-secret": self.secret,
            "expiration": rfc3339(expires),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": ",".join(groups(machine_id)),
        }
        return {**data, "description": description} if description else data


def new_token(world: World) -> BootstrapToken:
    """A fresh token."""
    return BootstrapToken(_letters(world, 6), _letters(world, 16))


def groups(machine_id: str) -> tuple[str, ...]:
    """The groups of a machine's token: the common one and its own, by which a CSR is matched to the machine."""
    return (GROUP, f"{GROUP}:{machine_id.lower()}")


def _letters(world: World, count: int) -> str:
    letters = ""
    while len(letters) < count:
        # bytes beyond the last whole multiple are dropped, so that every letter is equally likely
        letters += "".join(_ALPHABET[b % len(_ALPHABET)] for b in world.random_bytes(count) if b < _FAIR)
    return letters[:count]
