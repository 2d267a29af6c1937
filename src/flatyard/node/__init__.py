"""One machine's Ignition: what makes a vanilla Flatcar image a Kubernetes node in one boot.

`prepare` a template per pool, `render` each machine; `layout` says what lies where and starts in which order;
`evidence` is what a machine says when its first boot fails.
"""

from __future__ import annotations

from flatyard.node.evidence import Report, format_report, parse_console
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeRole,
    PoolSettings,
    Vip,
)
from flatyard.node.kubeadm import kubelet_labels
from flatyard.node.render import NodeTemplate, prepare, render

__all__ = [
    "Bootstrap",
    "ClusterSettings",
    "Init",
    "JoinControlPlane",
    "JoinWorker",
    "MachineIdentity",
    "MachineToken",
    "NodeRole",
    "NodeTemplate",
    "PoolSettings",
    "Report",
    "Vip",
    "format_report",
    "kubelet_labels",
    "parse_console",
    "prepare",
    "render",
]
