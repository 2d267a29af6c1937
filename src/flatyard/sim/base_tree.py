"""The root of a vanilla Flatcar image, as far as first boots depend on it.

Written from what Flatcar's documentation says of its units and files; our own words throughout. One tree per
image is shared by all machines that boot it.
"""

from __future__ import annotations

from functools import cache

from flatyard.ignition.tree import Node, NodeKind, Tree

SYSTEM_UNITS = "/usr/lib/systemd/system"
COMMANDS = ("kubeadm", "kubectl", "kubelet")
_BINARIES = (
    "awk base64 basename bash cat chmod containerd coreos-cloudinit cp ctr curl cut date dirname docker env find "
    "flock getent grep gzip head hostname hostnamectl id install ip iptables journalctl jq ln ls mkdir mktemp mount "
    "mountpoint mv nft openssl readlink rm runc sed sh sha256sum sleep sort stat sync sysctl systemctl systemd-cat "
    "systemd-notify systemd-run tail tar tee test timeout touch tr true udevadm umount update_engine_client "
    "systemd-sysext systemd-tmpfiles systemd-escape modprobe logger printf false mkfs.ext4 blkid lsblk wc xargs"
).split()
_TARGETS = {
    "multi-user.target": "Requires=basic.target\nAfter=basic.target",
    "basic.target": "Requires=sysinit.target\nAfter=sysinit.target\nWants=sockets.target timers.target",
    "sysinit.target": "Wants=local-fs.target swap.target\nAfter=local-fs.target",
    "local-fs.target": "",
    "remote-fs.target": "",
    "swap.target": "",
    "sockets.target": "",
    "timers.target": "",
    "network.target": "",
    "network-online.target": "Wants=systemd-networkd-wait-online.service\nAfter=systemd-networkd-wait-online.service",
    "nss-lookup.target": "",
    "time-sync.target": "",
    "boot-complete.target": "",
}
_ONESHOT = "Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/true"
_SERVICES = {
    "systemd-sysext.service": (
        "ConditionDirectoryNotEmpty=|/etc/extensions\nDefaultDependencies=no\nBefore=sysinit.target",
        "Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/systemd-sysext refresh",
        "sysinit.target",
    ),
    "systemd-networkd.service": ("Before=network.target", _ONESHOT, "multi-user.target"),
    "systemd-networkd-wait-online.service": ("After=systemd-networkd.service", _ONESHOT, ""),
    "systemd-resolved.service": ("", _ONESHOT, "multi-user.target"),
    "systemd-timesyncd.service": ("", _ONESHOT, "sysinit.target"),
    "systemd-sysctl.service": ("DefaultDependencies=no\nBefore=sysinit.target", _ONESHOT, "sysinit.target"),
    "systemd-modules-load.service": (
        "DefaultDependencies=no\nBefore=sysinit.target",
        _ONESHOT,
        "sysinit.target",
    ),
    "systemd-tmpfiles-setup.service": (
        "DefaultDependencies=no\nBefore=sysinit.target",
        _ONESHOT,
        "sysinit.target",
    ),
    "coreos-metadata.service": ("After=network-online.target\nWants=network-online.target", _ONESHOT, ""),
    "update-engine.service": ("", "ExecStart=/usr/bin/true", "multi-user.target"),
    "locksmithd.service": ("After=update-engine.service", "ExecStart=/usr/bin/true", "multi-user.target"),
    "containerd.service": (
        "After=network.target",
        "Environment=CONTAINERD_CONFIG=/usr/share/containerd/config.toml\n"
        "ExecStart=/usr/bin/containerd --config ${CONTAINERD_CONFIG}",
        "multi-user.target",
    ),
    "docker.service": (
        "Requires=containerd.service\nAfter=containerd.service",
        "ExecStart=/usr/bin/true",
        "",
    ),
    "systemd-sysupdate.service": ("", "Type=oneshot\nExecStart=/usr/bin/true", ""),
    "sshd@.service": ("", "ExecStart=/usr/bin/true", ""),
    "systemd-fsck@.service": ("DefaultDependencies=no", _ONESHOT, ""),
}
_CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
enable_selinux = false
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
_PASSWD = "root:x:0:0:root:/root:/bin/bash\ncore:x:500:500:Flatcar user:/home/core:/bin/bash\n"
_GROUP = "root:x:0:\nsudo:x:150:\ndocker:x:233:\nwheel:x:10:\ncore:x:500:\nsystemd-journal:x:248:\n"
_DIRECTORIES = (
    "/boot /dev /etc /etc/containerd /etc/extensions /etc/flatcar /etc/kubernetes /etc/ssh /etc/sysctl.d "
    "/etc/sysupdate.d /etc/systemd /etc/systemd/network /etc/systemd/system /home /home/core /mnt /opt /proc /root "
    "/run /srv /sys /tmp /usr /var /var/lib /var/log"
).split()
_LINKS = {
    "/bin": "usr/bin",
    "/sbin": "usr/bin",
    "/usr/sbin": "bin",
    "/lib": "usr/lib",
    "/lib64": "usr/lib64",
    "/usr/lib64/systemd": "../lib/systemd",
    "/etc/os-release": "../usr/lib/os-release",
    "/etc/resolv.conf": "/run/systemd/resolve/resolv.conf",
}


@cache
def flatcar_root(version: str, arch: str, kubernetes: str | None) -> Tree:
    """The root of one image: a Flatcar version, an architecture (`amd64`), a baked-in Kubernetes or None.

    Machines write to an overlay of it, never to itself.
    """
    files = {
        "/usr/lib/os-release": _os_release(version),
        "/usr/share/containerd/config.toml": _CONTAINERD,
        "/usr/share/flatcar/release": f"FLATCAR_RELEASE_VERSION={version}\nFLATCAR_RELEASE_BOARD={arch}-usr\n",
        "/etc/passwd": _PASSWD,
        "/etc/group": _GROUP,
        "/etc/shadow": "root:*:15887:0:::::\ncore:*:15887:0:::::\n",
        "/etc/gshadow": "root:::\nsudo:::\ndocker:::\nwheel:::\ncore:::\nsystemd-journal:::\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/flatcar/update.conf": "",
    }
    files |= {f"{SYSTEM_UNITS}/{name}": f"[Unit]\n{text}\n" for name, text in _TARGETS.items()}
    files |= {
        f"{SYSTEM_UNITS}/{name}": _service(unit, service) for name, (unit, service, _) in _SERVICES.items()
    }
    files[f"{SYSTEM_UNITS}/systemd-sysupdate.timer"] = (
        "[Timer]\nOnBootSec=15min\nOnUnitActiveSec=1h\n\n[Install]\nWantedBy=timers.target\n"
    )
    files[f"{SYSTEM_UNITS}/sshd.socket"] = "[Socket]\nListenStream=22\nAccept=yes\n"
    links = dict(_LINKS)
    links |= {
        f"{SYSTEM_UNITS}/{target}.wants/{name}": f"../{name}"
        for name, (_, _, target) in _SERVICES.items()
        if target
    }
    links[f"{SYSTEM_UNITS}/sockets.target.wants/sshd.socket"] = "../sshd.socket"
    executables = {f"/usr/bin/{name}": b"" for name in _BINARIES}
    if kubernetes:
        files |= {f"{SYSTEM_UNITS}/{path}": text for path, text in kubelet_units("/opt/bin").items()}
        executables |= {f"/opt/bin/{name}": command(name, kubernetes) for name in COMMANDS}
    return _tree(files, executables, links)


def _os_release(version: str) -> str:
    return (
        'NAME="Flatcar Container Linux by Kinvolk"\nID=flatcar\nID_LIKE=coreos\n'
        f"VERSION={version}\nVERSION_ID={version}\nSYSEXT_LEVEL=1.0\n"
        f'PRETTY_NAME="Flatcar Container Linux by Kinvolk {version} (simulated)"\n'
    )


def _service(unit: str, service: str) -> str:
    return f"[Unit]\n{unit}\n\n[Service]\n{service}\n"


def command(name: str, version: str) -> bytes:
    """The bytes that stand for a Kubernetes command: they say what they are."""
    return f"simulated {name} {version}\n".encode()


def command_version(content: bytes) -> str:
    """The version that `command` wrote; empty for other bytes."""
    words = content.decode("utf-8", "replace").split()
    return words[2] if len(words) == 3 and words[0] == "simulated" else ""


def kubelet_units(folder: str) -> dict[str, str]:
    """Units of the Kubernetes extension by path below the unit directory: the kubelet, its kubeadm drop-in, and
    the drop-in that makes multi-user.target uphold it. `folder` is where the commands lie."""
    return {
        "kubelet.service": (
            "[Unit]\nWants=network-online.target\nAfter=network-online.target containerd.service\n\n"
            f"[Service]\nExecStart={folder}/kubelet\nRestart=always\nRestartSec=10\nStartLimitIntervalSec=0\n\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        "kubelet.service.d/10-kubeadm.conf": (
            "[Service]\n"
            "Environment=KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf\n"
            "Environment=KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\n"
            "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/sysconfig/kubelet\n"
            f"ExecStart=\nExecStart={folder}/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS "
            "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n"
        ),
        "multi-user.target.d/10-kubelet-service.conf": "[Unit]\nUpholds=kubelet.service\n",
    }


def _tree(files: dict[str, str], executables: dict[str, bytes], links: dict[str, str]) -> Tree:
    nodes: dict[str, Node] = {}
    for path in (*files, *executables, *links, *(f"{directory}/." for directory in _DIRECTORIES)):
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            nodes.setdefault("/" + "/".join(parts[:depth]), Node(NodeKind.DIRECTORY, 0o755))
    nodes |= {path: Node(NodeKind.FILE, 0o644, content=text.encode()) for path, text in files.items()}
    nodes |= {path: Node(NodeKind.FILE, 0o755, content=content) for path, content in executables.items()}
    nodes |= {path: Node(NodeKind.LINK, 0o777, target=target) for path, target in links.items()}
    nodes["/home/core"] = Node(NodeKind.DIRECTORY, 0o755, 500, 500)
    return Tree(nodes)
