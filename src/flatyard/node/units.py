"""systemd units and drop-ins of a node, in the order that `layout` describes."""

from __future__ import annotations

from flatyard.ignition import Filesystem, Unit, unit
from flatyard.model.traits import MetadataBlock, NodeTraits
from flatyard.node import layout
from flatyard.node.exosphere import exosphere_unit
from flatyard.node.inputs import ClusterSettings, NodeRole, PoolSettings

_DROPIN = "10-flatyard.conf"
_REPORT = "OnFailure=flatyard-evidence@%n.service\n"
_WANTED = "[Install]\nWantedBy=multi-user.target\n"
_ONESHOT = "[Service]\nType=oneshot\nRemainAfterExit=yes\n"


def node_units(
    cluster: ClusterSettings, pool: PoolSettings, traits: NodeTraits, *, first: bool
) -> tuple[Unit, ...]:
    """All units of one machine."""
    etcd_disk = pool.role is NodeRole.CONTROL_PLANE and bool(traits.etcd_device)
    units = [
        _containerd(cluster),
        _kubelet(),
        _identity(),
        _services(),
        _kubeadm(etcd_disk=etcd_disk, first=first),
        _evidence(),
    ]
    if etcd_disk:
        units.append(_etcd_mount())
    if traits.metadata_block is MetadataBlock.HOST_RULE:
        units.append(_metadata(traits))
    if cluster.exosphere:
        units.append(exosphere_unit())
    return (*units, *_updates(cluster, pool))


def etcd_filesystem(traits: NodeTraits) -> Filesystem:
    """The etcd disk: ext4 by label, made when the disk has none, kept when it has."""
    return Filesystem(
        device=traits.etcd_device,
        format="ext4",
        label=layout.ETCD_DISK_LABEL,
        options=("-E", "lazy_itable_init=1,lazy_journal_init=1"),
        wipe_filesystem=False,
    )


def update_conf(cluster: ClusterSettings) -> str:
    """Flatcar's update.conf: its own reboot manager is on only where it is the owner of reboots."""
    if cluster.reboots != "locksmith":
        return "REBOOT_STRATEGY=off\n"
    window = cluster.reboot_window
    times = (
        f"LOCKSMITHD_REBOOT_WINDOW_START={window[0]}\nLOCKSMITHD_REBOOT_WINDOW_LENGTH={window[1]}\n"
        if window
        else ""
    )
    return f"REBOOT_STRATEGY=reboot\n{times}"


def _containerd(cluster: ClusterSettings) -> Unit:
    dropin = f"[Unit]\n{_REPORT}"
    if cluster.flavor == "sysext":
        start = f"/usr/bin/containerd --config {layout.CONTAINERD_CONFIG}"
        dropin += f"[Service]\nExecStart=\nExecStart={start}\n"
    return unit(layout.CONTAINERD_UNIT, enabled=True, dropins={_DROPIN: dropin})


def _kubelet() -> Unit:
    """The unit itself comes with the extension or the image."""
    order = f"[Unit]\nWants={layout.CONTAINERD_UNIT}\nAfter={layout.CONTAINERD_UNIT}\n"
    return unit(layout.KUBELET_UNIT, dropins={_DROPIN: order})


def _identity() -> Unit:
    text = (
        "[Unit]\nDescription=Learn this node's name and provider id\n"
        "Wants=network-online.target\nAfter=network-online.target\n"
        f"ConditionPathExists=!{layout.STAMP}\n{_REPORT}"
        f"{_ONESHOT}ExecStart={layout.IDENTITY_SCRIPT}\n{_WANTED}"
    )
    return unit(layout.IDENTITY_UNIT, text, enabled=True)


def _services() -> Unit:
    # "-": without it a node comes up all the same, half a minute later
    text = (
        "[Unit]\nDescription=Refuse what has no rule at the API's service address\n"
        "Wants=network-online.target\nAfter=network-online.target\n"
        f"{_ONESHOT}ExecStart=-{layout.SERVICES_SCRIPT}\n{_WANTED}"
    )
    return unit(layout.SERVICES_UNIT, text, enabled=True)


def _kubeadm(*, etcd_disk: bool, first: bool) -> Unit:
    needs = f"{layout.CONTAINERD_UNIT} {layout.IDENTITY_UNIT}"
    mount = f"RequiresMountsFor={layout.ETCD_DISK_FOLDER}\n" if etcd_disk else ""
    text = (
        f"[Unit]\nDescription=kubeadm {'init' if first else 'join'}\n"
        # wanted, not required: each further attempt then starts them again; the script insists on them
        f"Wants={needs}\nAfter={needs} {layout.SYSEXT_UNIT} network-online.target\n{mount}"
        f"ConditionPathExists=!{layout.STAMP}\nStartLimitIntervalSec=0\n"
        f"{_ONESHOT}ExecStart={layout.KUBEADM_SCRIPT}\n"
        # systemd tells OnFailure= nothing while Restart= goes on, so each attempt reports for itself
        f"ExecStopPost=/bin/sh -c '[ $$SERVICE_RESULT = success ]||{layout.EVIDENCE_SCRIPT} %n'\n"
        f"TimeoutStartSec=45min\nRestart=on-failure\nRestartSec=15\n{_WANTED}"
    )
    return unit(layout.INIT_UNIT if first else layout.JOIN_UNIT, text, enabled=True)


def _evidence() -> Unit:
    text = (
        "[Unit]\nDescription=Tell why %i failed\n"
        f"[Service]\nType=oneshot\nExecStart={layout.EVIDENCE_SCRIPT} %i\n"
    )
    return unit(layout.EVIDENCE_UNIT, text)


def _etcd_mount() -> Unit:
    text = (
        f"[Unit]\nDescription=etcd disk\n{_REPORT}"
        f"[Mount]\nWhat=/dev/disk/by-label/{layout.ETCD_DISK_LABEL}\nWhere={layout.ETCD_DISK_FOLDER}\nType=ext4\n"
        f"{_WANTED}"
    )
    return unit(layout.ETCD_MOUNT, text, enabled=True)


def _metadata(traits: NodeTraits) -> Unit:
    # in raw PREROUTING, before any rule of the pod network; the host's own packets do not pass there
    rule = f"PREROUTING -d {traits.metadata_address} -j DROP"
    table = "iptables -w -t raw"
    text = (
        f"[Unit]\nDescription=Close the metadata service to pods\nBefore={layout.KUBELET_UNIT}\n{_REPORT}"
        f"{_ONESHOT}ExecStart=/bin/sh -c '{table} -C {rule} 2>/dev/null||{table} -I {rule}'\n{_WANTED}"
    )
    return unit(layout.METADATA_UNIT, text, enabled=True)


def _updates(cluster: ClusterSettings, pool: PoolSettings) -> tuple[Unit, ...]:
    system = pool.system
    engine = system.disable_update_engine or system.disable_auto_update
    locksmith = cluster.reboots != "locksmith" or system.disable_locksmith_d or system.disable_auto_update
    units = [unit(layout.LOCKSMITH_UNIT, mask=True)] if locksmith else []
    if engine:
        units.append(unit(layout.UPDATE_ENGINE_UNIT, mask=True))
    if cluster.flavor == "sysext":
        units.append(unit(layout.SYSUPDATE_TIMER, enabled=cluster.patches == "auto"))
        units.append(unit(layout.SYSUPDATE_UNIT, dropins={_DROPIN: _sysupdate(cluster)}))
    return tuple(units)


def _sysupdate(cluster: ClusterSettings) -> str:
    before = "/run/kubernetes.before"
    ask = (
        "locksmithctl send-need-reboot"
        if cluster.reboots == "locksmith"
        else f"touch {layout.REBOOT_REQUIRED}"
    )
    return (
        "[Service]\n"
        f"ExecStartPre=/bin/sh -c 'readlink -f {layout.EXTENSION_LINK} >{before}'\n"
        "ExecStartPre=/usr/lib/systemd/systemd-sysupdate -C kubernetes update\n"
        f"ExecStartPost=/bin/sh -c '[ $$(readlink -f {layout.EXTENSION_LINK}) = $$(cat {before}) ]||{ask}'\n"
    )
