"""Where everything lies on a node, and which unit does what in which order.

`render` writes these paths and units; the simulator and the evidence parser read them. A first boot goes:

 1. Ignition (initrd) fetches `EXTENSION_FOLDER/kubernetes-VERSION-ARCH.raw`, checks its sha256, links
    `EXTENSION_LINK` to it, formats the etcd disk where there is one, writes all files and presets.
    A wrong hash or a failing fetch ends here: no unit ever starts, only Ignition's own console lines tell.
 2. `systemd-sysext.service` merges the extension: kubelet, kubeadm, kubectl appear below /usr, together with
    `kubelet.service`, which the extension's own drop-in for `multi-user.target` upholds. (Flavor `image`: the
    same things are baked in, below /opt/bin.)
 3. `ETCD_MOUNT` mounts the etcd disk (control planes whose cloud has one).
 4. `CONTAINERD_UNIT` starts with `CONTAINERD_CONFIG` (flavor `image`: with the image's own).
 5. `METADATA_UNIT` closes the metadata service to pods (clouds without a hop limit).
 6. `IDENTITY_UNIT` learns node name and providerID (from the metadata service where the cloud's traits say so),
    writes `ENV_FILE`, and fills the placeholders of `KUBEADM_CONFIG` into `KUBEADM_READY_CONFIG`.
 7. `INIT_UNIT` (first control plane) or `JOIN_UNIT` (all others) runs kubeadm. Both require 3, 4 and 6, both do
    nothing once `STAMP` exists, both go on where an earlier attempt stopped (they are tried again for ever), and
    never run `kubeadm reset`. The script insists on what it needs: kubeadm merged, kubelet not masked, containerd
    active, `KUBEADM_READY_CONFIG` there, the etcd disk mounted; it names the unit to blame in `CAUSE_FILE`.
    kubeadm writes `KUBELET_CONFIG`; until then the upheld kubelet fails and is restarted, which is normal.
 8. `STAMP` is written and both kubeadm files, which hold the token, are removed.

`SERVICES_UNIT` refuses what is sent to the API's service address before kube-proxy has rules; nothing waits for it.

A failing unit of 3–6 starts `EVIDENCE_UNIT` for it, a failing attempt of 7 runs `EVIDENCE_SCRIPT` itself; both
print the block described in `evidence` on the console, about the first failing unit of `EVIDENCE_ORDER`.
"""

from __future__ import annotations

from flatyard.sysext.layout import IMAGE_FOLDER, IMAGE_LINK, image_name

# ---- Kubernetes as an extension (flavor sysext)
EXTENSION_FOLDER = IMAGE_FOLDER
"""`/opt/extensions/kubernetes`: holds `kubernetes-v1.34.3-x86-64.raw`, and what sysupdate fetches later."""
EXTENSION_LINK = IMAGE_LINK
"""`/etc/extensions/kubernetes.raw`"""
SYSUPDATE_FOLDER = "/etc/sysupdate.kubernetes.d"
"""Holds `kubernetes-v1.34.conf`: patches of one minor version."""
NOOP_CONF = "/etc/sysupdate.d/noop.conf"
SYSEXT_UNIT = "systemd-sysext.service"
SYSUPDATE_UNIT = "systemd-sysupdate.service"
SYSUPDATE_TIMER = "systemd-sysupdate.timer"

# ---- containerd and the kubelet
CONTAINERD_UNIT = "containerd.service"
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
KUBELET_UNIT = "kubelet.service"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
"""Written by kubeadm, never by Ignition."""
VOLUME_PLUGINS = "/opt/libexec/kubernetes/kubelet-plugins/volume/exec/"
"""Instead of the default below the read-only /usr."""
SYSCTL_CONF = "/etc/sysctl.d/90-kubernetes.conf"
MODULES_CONF = "/etc/modules-load.d/kubernetes.conf"

# ---- kubeadm
PKI_FOLDER = "/etc/kubernetes/pki"
VIP_MANIFEST = "/etc/kubernetes/manifests/kube-vip.yaml"
"""Static pod that holds the endpoint's address (endpoint kind vip, control planes)."""
ENCRYPTION_FOLDER = "/etc/kubernetes/enc"
ENCRYPTION_CONFIG = "/etc/kubernetes/enc/encryption.yaml"
KUBEADM_CONFIG = "/etc/kubernetes/kubeadm.yaml"
"""As rendered: Init- or JoinConfiguration and friends, with `PLACEHOLDER_*` for what only the machine knows."""
KUBEADM_READY_CONFIG = "/run/flatyard/kubeadm.yaml"
PLACEHOLDER_NODE_NAME = "@NODE_NAME@"
PLACEHOLDER_PROVIDER_ID = "@PROVIDER_ID@"
PATCHES_FOLDER = "/etc/kubernetes/patches"
KUBELET_PATCH = "/etc/kubernetes/patches/kubeletconfiguration+merge.json"
"""A pool's own kubelet settings, where it has any."""
ETCD_DATA = "/var/lib/etcd"
ETCD_DISK_LABEL = "etcd_disk"
ETCD_DISK_FOLDER = "/var/lib/etcddisk"
ETCD_DISK_DATA = "/var/lib/etcddisk/etcd"
"""etcd's data directory where the control plane has an etcd disk."""
ETCD_MOUNT = "var-lib-etcddisk.mount"

# ---- flatyard's own
MACHINE_FILE = "/etc/flatyard/machine.json"
"""No secrets: cluster, machine (ids), name, role, pool, kubernetes."""
IDENTITY_SCRIPT = "/etc/flatyard/identity"
KUBEADM_SCRIPT = "/etc/flatyard/kubeadm"
EVIDENCE_SCRIPT = "/etc/flatyard/evidence"
PEER_FILE = "/etc/flatyard/peer"
"""Address of a living control plane, for one that joins where there is no hairpin."""
CAUSE_FILE = "/run/flatyard/cause"
"""The unit to blame, when the kubeadm script itself found out what is missing."""
HOSTNAME_FILE = "/etc/hostname"
ENV_FILE = "/etc/kubernetes/flatyard.env"
"""NODE_NAME=… and PROVIDER_ID=…, as the machine learnt them."""
STAMP = "/var/lib/flatyard/kubeadm.done"
IDENTITY_UNIT = "flatyard-identity.service"
METADATA_UNIT = "flatyard-metadata.service"
SERVICES_UNIT = "flatyard-services.service"
SERVICES_SCRIPT = "/etc/flatyard/services"
INIT_UNIT = "flatyard-init.service"
JOIN_UNIT = "flatyard-join.service"
EVIDENCE_UNIT = "flatyard-evidence@.service"
"""A template: the instance is the failing unit's name."""

# ---- Exosphere, where a cluster on OpenStack asks for it
EXOSPHERE_UNIT = "flatyard-exosphere.service"
EXOSPHERE_SCRIPT = "/etc/flatyard/exosphere"
EXOSPHERE_STAMP = "/var/lib/flatyard/exosphere.done"
SERIAL_CONSOLES = "/dev/ttyS0 /dev/ttyAMA0"
"""Beside /dev/console, which Flatcar's OpenStack image has on the screen, not on the serial line that Nova reads."""

# ---- who updates and reboots
UPDATE_CONF = "/etc/flatcar/update.conf"
UPDATE_ENGINE_UNIT = "update-engine.service"
LOCKSMITH_UNIT = "locksmithd.service"
REBOOT_REQUIRED = "/run/reboot-required"

EVIDENCE_ORDER = (
    SYSEXT_UNIT,
    ETCD_MOUNT,
    CONTAINERD_UNIT,
    METADATA_UNIT,
    IDENTITY_UNIT,
    KUBELET_UNIT,
    INIT_UNIT,
    JOIN_UNIT,
)
"""Causes before effects: of several failing units, the first of these is the one to report."""


def extension_image(version: str, arch: str) -> str:
    """The image's path for a version (`v1.34.3`) and an architecture as Kubernetes names it (`amd64`)."""
    return f"{EXTENSION_FOLDER}/{image_name(version, arch)}"
