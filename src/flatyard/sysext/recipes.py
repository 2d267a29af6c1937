"""What is compiled, from which module, and how: one recipe per component, as data.

Versions are those that Kubernetes' own kubeadm starts (cmd/kubeadm/app/constants of each release), that Flatcar's
stable channel ships (containerd, runc, Ignition), and `versions.py`'s for the CNI plugins. A version that a list of a
module proxy does not show may still be served, so no list was asked for them.

Ways to compile, because a main module's `replace` counts and a required one's does not:

- `WRAPPED`: a module of ours requires the recipe's; its own `replace` directives, which point to folders that a proxy
  does not serve, are then without effect.
- `IN_PLACE`: inside a writable copy of the module, with its own go.mod, go.sum and replacements.
- `STAGED`: wrapped, with Kubernetes' staging modules at the versions of the same release.
- `OURS`: sources of this package, which require nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flatyard.base.errors import Refused
from flatyard.sysext.layout import extension_arch
from flatyard.sysext.versions import cni_version, minor, sandbox_image

KUBERNETES_COMMANDS = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)
"""One program under seven names: measured 276 s and 151 MB, against 417 s and 560 MB for seven programs."""
KUBERNETES_PROGRAM = "kubernetes"

CONTAINERD = "v2.1.5"
RUNC = "v1.3.4"
"""containerd 2.1.5 was tested with 1.3.3 (its script/setup/runc-version), which a module proxy cannot serve whole: it
replaces selinux by a folder of its repository that is a module of its own. 1.3.4 is the same minor without that."""
IGNITION = "v2.24.0"

_UNKNOWN_COMMIT = "0" * 40
_NO_DATE = "1970-01-01T00:00:00Z"


class Way(StrEnum):
    """How a module is compiled; see the module's text."""

    WRAPPED = "wrapped"
    IN_PLACE = "in place"
    STAGED = "staged"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One component: what it takes to compile it, and what comes out.

    `version` is the module's (`v3.6.5`). `programs` maps a file's name to the package that is compiled into it.
    `needs` are Debian packages beside Go. `seconds` and `megabytes` are for two cores, an empty cache, and everything
    that Go's caches then hold: for estimates and for the check of free space, not promises.
    """

    name: str
    module: str
    version: str
    programs: tuple[tuple[str, str], ...]
    way: Way
    go: str
    seconds: int
    megabytes: int
    beside: tuple[str, ...] = ()
    """Other modules that are required at the same version."""
    flags: tuple[tuple[str, str], ...] = ()
    """Linker's `-X` values: variable, value."""
    tags: tuple[str, ...] = ()
    cgo: bool = False
    static: bool = False
    needs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Files of this package's `go` folder that are compiled with it, without their `.txt`."""
    godebug: str = ""

    @property
    def title(self) -> str:
        """`etcd v3.6.5`."""
        return f"{self.name} {self.version}"


# ---- what belongs to a Kubernetes version


@dataclass(frozen=True, slots=True)
class Companions:
    """What kubeadm of a Kubernetes version starts beside Kubernetes' own programs; image tags without the `v`s."""

    etcd: str
    """`3.6.5`; the image's tag is `3.6.5-0`."""
    etcd_tools: str
    coredns: str
    pause: str


_ETCD = {"v1.33": "3.5.24", "v1.34": "3.6.5", "v1.35": "3.6.6", "v1.36": "3.6.8"}
_ETCD_OF_PATCH = {"v1.34.0": "3.6.4"}
"""Where an early patch of a minor started another one."""
_ETCD_TOOLS = {"3.5.24": "3.5.33"}
"""Where the module of the same version is not to be had (the public proxy answers 403 for etcdctl and etcdutl 3.5.24):
the nearest later one of the same minor."""
_COREDNS = {"v1.33": "1.12.0", "v1.34": "1.12.1", "v1.35": "1.13.1", "v1.36": "1.14.2"}


def companions(version: str) -> Companions:
    """For a Kubernetes version such as `v1.34.3`; raises Refused for an unsupported minor."""
    name = minor(version).name
    etcd = _ETCD_OF_PATCH.get(version, _ETCD[name])
    pause = sandbox_image(version).rpartition(":")[2]
    return Companions(etcd, _ETCD_TOOLS.get(etcd, etcd), _COREDNS[name], pause)


# ---- the recipes


def node_recipes(version: str) -> tuple[Recipe, ...]:
    """What a Kubernetes extension image needs."""
    return (kubernetes(version), cni_plugins(cni_version(version)))


def control_plane_recipes(version: str) -> tuple[Recipe, ...]:
    """What the images that kubeadm starts need."""
    beside = companions(version)
    return (
        kubernetes(version),
        etcd(f"v{beside.etcd}"),
        etcd_tools(f"v{beside.etcd_tools}"),
        coredns(f"v{beside.coredns}"),
        pause(beside.pause),
    )


def machine_recipes() -> tuple[Recipe, ...]:
    """What an OS image brings along and a stand-in for one must be given."""
    return (containerd(), runc(), ignition())


def all_recipes(version: str) -> tuple[Recipe, ...]:
    """Everything, each once."""
    return tuple(dict.fromkeys((*control_plane_recipes(version), *node_recipes(version), *machine_recipes())))


_GO = {"v1.33": "1.24", "v1.34": "1.24", "v1.35": "1.25", "v1.36": "1.26"}
"""The oldest Go that a minor's go.mod accepts. It is also its godebug default."""


def kubernetes(version: str) -> Recipe:
    """All of Kubernetes' programs in one, stamped with the version as upstream's hack/lib/version.sh does."""
    name = minor(version).name
    return Recipe(
        KUBERNETES_PROGRAM,
        "k8s.io/kubernetes",
        version,
        ((KUBERNETES_PROGRAM, "."),),
        Way.STAGED,
        _GO[name],
        seconds=400,
        megabytes=6500,
        flags=_kubernetes_flags(version),
        sources=("kubernetes.go", "commands_1_33.go" if name == "v1.33" else "commands.go"),
        godebug=f"go{_GO[name]}",
    )


def _kubernetes_flags(version: str) -> tuple[tuple[str, str], ...]:
    values = {
        "gitVersion": version,
        "gitMajor": "1",
        "gitMinor": version.split(".")[1],
        "gitTreeState": "clean",
        "gitCommit": _UNKNOWN_COMMIT,
        "buildDate": _NO_DATE,
    }
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple((f"{place}.{name}", value) for place in places for name, value in values.items())


CNI_PLUGINS = {
    "main": ("bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"),
    "ipam": ("dhcp", "host-local", "static"),
    "meta": ("bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"),
}
"""What upstream's release archive has, by the folder below `plugins`."""


def cni_plugins(version: str) -> Recipe:
    """The reference plugins, one program each."""
    module = "github.com/containernetworking/plugins"
    programs = tuple(
        (name, f"./plugins/{kind}/{name}") for kind, names in CNI_PLUGINS.items() for name in names
    )
    return Recipe(
        "cni-plugins",
        module,
        version,
        programs,
        Way.IN_PLACE,
        "1.24" if version >= "v1.9" else "1.23",
        seconds=60,
        megabytes=700,
        flags=((f"{module}/pkg/utils/buildversion.BuildVersion", version),),
    )


def etcd(version: str) -> Recipe:
    """The server."""
    return Recipe(
        "etcd",
        "go.etcd.io/etcd/server/v3",
        version,
        (("etcd", "go.etcd.io/etcd/server/v3"),),
        Way.WRAPPED,
        "1.24",
        seconds=60,
        megabytes=800,
        flags=(("go.etcd.io/etcd/api/v3/version.GitSHA", "none"),),
    )


def etcd_tools(version: str) -> Recipe:
    """etcdctl and etcdutl: snapshots, members, restoring."""
    return Recipe(
        "etcd-tools",
        "go.etcd.io/etcd/etcdutl/v3",
        version,
        (("etcdctl", "go.etcd.io/etcd/etcdctl/v3"), ("etcdutl", "go.etcd.io/etcd/etcdutl/v3")),
        Way.WRAPPED,
        "1.24",
        seconds=25,
        megabytes=300,
        beside=("go.etcd.io/etcd/etcdctl/v3",),
        flags=(("go.etcd.io/etcd/api/v3/version.GitSHA", "none"),),
    )


def coredns(version: str) -> Recipe:
    """With the plugins of upstream's own plugin.cfg."""
    return Recipe(
        "coredns",
        "github.com/coredns/coredns",
        version,
        (("coredns", "."),),
        Way.IN_PLACE,
        "1.25" if version >= "v1.14" else "1.24",
        seconds=240,
        megabytes=2500,
    )


def pause(version: str) -> Recipe:
    """A sandbox's first process, ours in place of upstream's C program; says of which version it takes the place."""
    return Recipe(
        "pause",
        "flatyard.invalid/pause",
        version,
        (("pause", "."),),
        Way.OURS,
        "1.21",
        seconds=5,
        megabytes=100,
        flags=(("main.standsFor", version),),
        sources=("pause.go",),
    )


def containerd(version: str = CONTAINERD) -> Recipe:
    """The daemon, the shim for runc and ctr; without the snapshotters that need another file system."""
    module = "github.com/containerd/containerd/v2"
    return Recipe(
        "containerd",
        module,
        version,
        tuple((name, f"./cmd/{name}") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        Way.IN_PLACE,
        "1.23",
        seconds=200,
        megabytes=1500,
        flags=((f"{module}/version.Version", version),),
        tags=("no_btrfs", "no_zfs", "no_devmapper"),
    )


def runc(version: str = RUNC) -> Recipe:
    """Static, as upstream releases it, and with seccomp: kubeadm's own pods ask for the RuntimeDefault profile."""
    return Recipe(
        "runc",
        "github.com/opencontainers/runc",
        version,
        (("runc", "."),),
        Way.IN_PLACE,
        "1.23",
        seconds=60,
        megabytes=300,
        tags=("seccomp", "netgo", "osusergo"),
        cgo=True,
        static=True,
        needs=("gcc", "libc6-dev", "libseccomp-dev"),
    )


def ignition(version: str = IGNITION) -> Recipe:
    """As Flatcar has it: no SELinux relabelling, keys in one authorized_keys file."""
    module = "github.com/coreos/ignition/v2"
    return Recipe(
        "ignition",
        module,
        version,
        (("ignition", f"{module}/internal"),),
        Way.IN_PLACE,
        "1.24",
        seconds=120,
        megabytes=1500,
        flags=(
            (f"{module}/internal/version.Raw", version),
            (f"{module}/internal/distro.selinuxRelabel", "false"),
            (f"{module}/internal/distro.writeAuthorizedKeysFragment", "false"),
        ),
        cgo=True,
        needs=("gcc", "libc6-dev", "libblkid-dev"),
    )


def check_arch(recipe: Recipe, arch: str, host: str) -> None:
    """Raises Refused where a component cannot be compiled here for an architecture (`amd64`, `arm64`)."""
    extension_arch(arch)
    if recipe.cgo and arch != host:
        raise Refused(
            f"{recipe.title} is not compiled for {arch} on {host}",
            why="it has C in it, which needs a compiler and libraries of that architecture",
            next=f"compile it on a machine with {arch}",
        )
