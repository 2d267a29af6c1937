"""Kubeconfig files."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from flatyard.pki.keys import KeyPair


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One cluster, one user, one context, all named after the cluster."""

    name: str
    server: str
    """`https://host:port`"""
    ca: bytes
    client: KeyPair | None = None
    token: str = field(default="", repr=False)
    user: str = "admin"

    def render(self) -> bytes:
        """The file (YAML, v1 Config). Write it with mode 0600: it holds a credential."""
        context = f"{self.user}@{self.name}"
        lines = [
            "apiVersion: v1",
            "kind: Config",
            f"current-context: {context}",
            "clusters:",
            f"- name: {self.name}",
            "  cluster:",
            f"    server: {self.server}",
            f"    certificate-authority-data: {_data(self.ca)}",
            "contexts:",
            f"- name: {context}",
            f"  context: {{cluster: {self.name}, user: {context}}}",
            "users:",
            f"- name: {context}",
            "  user:",
            *self._credentials(),
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    def _credentials(self) -> list[str]:
        if self.client is None:
            return [f"    token: {self.token}"]
        return [
            f"    client-certificate-data: {_data(self.client.certificate)}",
            f"    client-key-data: {_data(self.client.key)}",
        ]


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
