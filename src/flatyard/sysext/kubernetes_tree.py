"""The contents of a Kubernetes image, laid out as sysext-bakery lays it out.

Programs in /usr/bin, CNI plugins in /usr/local/bin/cni, two version files, the kubelet's unit with the drop-in that
kubeadm expects, `Upholds=` on multi-user.target, and a link out of /usr for flex volumes: a node that was made with
one of its images can be given one of ours, and the other way round. Source: flatcar/sysext-bakery, kubernetes.sysext;
the drop-in's environment variables: Kubernetes' kubelet packaging for kubeadm.

What differs: the CNI version is pinned by the Kubernetes version, not by the day of the build, and nothing in the
image depends on where or when it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.sysext import extension_release
from flatyard.sysext.contents import (
    PROGRAM_MODE,
    Contents,
    Copy,
    Entry,
    Link,
    Text,
    architectures,
    contents,
    read_tree,
)
from flatyard.sysext.layout import EXTENSION, extension_arch

COMMANDS = ("kubeadm", "kubelet", "kubectl")
CNI = "cni/"
NEEDED_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
"""What the usual pod networks call; others may come along."""
COMMAND_FOLDER = "usr/bin"
PLUGIN_FOLDER = "usr/local/bin/cni"
UNITS = "usr/lib/systemd/system"
SHARE = "usr/local/share"
FLEX_VOLUMES = "var/kubernetes/kubelet-plugins/volume/exec"

KUBELET_UNIT = """\
[Unit]
Description=Kubernetes node agent
Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
Wants=network-online.target
After=network-online.target containerd.service
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

# Names and order are kubeadm's: it writes the first file on init and join, and documents the second for the admin.
KUBEADM_DROPIN = f"""\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStartPre=/usr/bin/mkdir -p /opt/cni/bin /{FLEX_VOLUMES}
ExecStartPre=/usr/bin/cp -r /{PLUGIN_FOLDER}/. /opt/cni/bin/
ExecStartPre=/usr/bin/cp /{SHARE}/kubernetes-version /etc/kubernetes-version
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""

# Wants= would be read only when the target starts, which is before the image is merged.
UPHOLD_DROPIN = "[Unit]\nUpholds=kubelet.service\n"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs for one image, whoever made them: downloaded, compiled, or from a folder.

    `version` (`v1.34.3`), `cni_version` (`v1.9.1`), `arch` (`amd64`), `paths`: `kubeadm`, `kubelet`, `kubectl` and
    `cni/NAME` for every plugin, each to a file on this disk. Names with the same file become one file with several
    names. `origin` says where they are from, for the people who read about it.
    """

    version: str
    cni_version: str
    arch: str
    paths: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""

    @staticmethod
    def in_folder(folder: Path, *, version: str, cni_version: str, arch: str, origin: str = "") -> Binaries:
        """What stands in a folder as kubeadm, kubelet, kubectl and cni/…; links in it are followed."""
        found = {name: folder / name for name in COMMANDS if (folder / name).is_file()}
        plugins = read_tree(folder / "cni").below("") if (folder / "cni").is_dir() else ()
        found |= {
            f"{CNI}{name}": folder / "cni" / name for name in plugins if (folder / "cni" / name).is_file()
        }
        return Binaries(version, cni_version, arch, found, origin)

    def check(self) -> None:
        """Raises Failed, with all of them, when programs are missing or are for another architecture."""
        wanted = [*COMMANDS, *(f"{CNI}{name}" for name in NEEDED_PLUGINS)]
        if missing := [name for name in wanted if name not in self.paths]:
            raise Failed(
                f"the programs of Kubernetes {self.version} are not complete",
                why=f"without {', '.join(missing)}",
                next="build or download them again",
            )
        arch = extension_arch(self.arch)
        machines = architectures(kubernetes_contents(self))
        others = [path for machine, paths in machines.items() if machine != arch for path in paths]
        if others:
            raise Failed(
                f"programs of Kubernetes {self.version} are not for {arch}",
                why=f"{', '.join(path.rpartition('/')[2] for path in others)} are for another architecture",
                next="build or download them again",
            )


def kubernetes_contents(binaries: Binaries) -> Contents:
    """The image's tree. Raises Refused for an architecture that has no images."""
    entries: dict[str, Entry] = {}
    for name, path in binaries.paths.items():
        is_plugin = name.startswith(CNI)
        target = f"{PLUGIN_FOLDER}/{name.removeprefix(CNI)}" if is_plugin else f"{COMMAND_FOLDER}/{name}"
        entries[target] = Copy(path, path.stat().st_size, PROGRAM_MODE)
    release = extension_release.render(extension_arch(binaries.arch), reload=True)
    texts = {
        extension_release.path_of(EXTENSION): release,
        f"{SHARE}/kubernetes-version": f"{binaries.version}\n".encode(),
        f"{SHARE}/kubernetes-cni-version": f"{binaries.cni_version}\n".encode(),
        f"{UNITS}/kubelet.service": KUBELET_UNIT.encode(),
        f"{UNITS}/kubelet.service.d/10-kubeadm.conf": KUBEADM_DROPIN.encode(),
        f"{UNITS}/multi-user.target.d/10-kubelet-service.conf": UPHOLD_DROPIN.encode(),
    }
    entries |= {path: Text(text) for path, text in texts.items()}
    entries["usr/libexec/kubernetes/kubelet-plugins/volume/exec"] = Link(f"/{FLEX_VOLUMES}")
    return contents(entries)
