"""What a joining machine may do with its bootstrap token.

kubeadm binds these roles to its own token group; our tokens are in a group of their own, so that its automatic
approval of certificate requests does not apply to them. The bindings repeat the rest
(kubeadm, phases/bootstraptoken and phases/uploadconfig).
"""

from __future__ import annotations

from flatyard.kube.api import Json
from flatyard.pki import GROUP

_RBAC = "rbac.authorization.k8s.io"


def node_rights() -> tuple[Json, ...]:
    """Bindings for the group of our bootstrap tokens."""
    return (
        _cluster_binding("flatyard:node-bootstrapper", "system:node-bootstrapper"),
        _cluster_binding("flatyard:get-nodes", "kubeadm:get-nodes"),
        _binding("flatyard:kubelet-config", "kubeadm:kubelet-config"),
        _binding("flatyard:nodes-kubeadm-config", "kubeadm:nodes-kubeadm-config"),
    )


def _cluster_binding(name: str, role: str) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [_group()],
    }


def _binding(name: str, role: str) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "kube-system"},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role},
        "subjects": [_group()],
    }


def _group() -> Json:
    return {"apiGroup": _RBAC, "kind": "Group", "name": GROUP}
