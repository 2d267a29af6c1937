"""A machine's whole config: what is the same for a pool is prepared once, the rest is filled in per machine.

Nothing here does I/O or chooses anything at random: equal inputs give equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from flatyard.base.errors import Refused
from flatyard.flatcar import release
from flatyard.ignition import (
    Config,
    Directory,
    File,
    Filesystem,
    Link,
    Resource,
    User,
    config,
    directory,
    file,
    link,
    remote_file,
    user,
)
from flatyard.ignition.merge import merge_all
from flatyard.model.traits import NodeNameRule, NodeTraits
from flatyard.node import layout, scripts, units
from flatyard.node.exosphere import exosphere_script, exosphere_user
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    NodeRole,
    PoolSettings,
)
from flatyard.node.kubeadm import encryption_config, kubeadm_config, kubelet_patch
from flatyard.node.vip import vip_manifest
from flatyard.sysext.layout import BAKERY, NOOP_CONF, transfer_conf, transfer_name
from flatyard.sysext.versions import sandbox_image

_SECRET = 0o600
_SCRIPT = 0o755
_PKI = ("ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "front-proxy-ca.crt", "front-proxy-ca.key")
_PKI_FILES = (*_PKI, "sa.key", "sa.pub")


def render(
    cluster: ClusterSettings,
    pool: PoolSettings,
    machine: MachineIdentity,
    traits: NodeTraits,
    bootstrap: Bootstrap,
) -> Config:
    """One machine's config. For many machines of a pool, `prepare` once and use the template."""
    return prepare(cluster, pool, traits, first=isinstance(bootstrap, Init)).render(machine, bootstrap)


def prepare(
    cluster: ClusterSettings, pool: PoolSettings, traits: NodeTraits, *, first: bool = False
) -> NodeTemplate:
    """What all machines of a pool share, with the user's extras merged in. `first`: the first control plane.

    Raises Refused when the inputs do not go together.
    """
    _check(cluster, pool, traits, first=first)
    _check_spec(pool)
    if pool.overwrite is not None:
        return NodeTemplate(cluster, pool, traits, first, pool.overwrite)
    base = _base(cluster, pool, traits, first=first)
    merged = merge_all([base, *map(_standing_alone, pool.extras)])
    newest = max((c.ignition.version for c in (base, *pool.extras)), key=_version_key)
    merged = replace(merged, ignition=replace(merged.ignition, version=newest))
    return NodeTemplate(cluster, pool, traits, first, merged)


def _standing_alone(extra: Config) -> Config:
    """The user's config with every file's compression spelled out.

    In a merge a child that only names a source inherits the parent's compression (Ignition spec, merging), so a
    plain file of the user's over a compressed one of ours could not be read on the machine.
    """
    files = tuple(_with_compression(entry) for entry in extra.storage.files)
    return replace(extra, storage=replace(extra.storage, files=files))


def _with_compression(entry: File) -> File:
    contents = entry.contents
    if contents.source is None or contents.compression is not None:
        return entry
    return replace(entry, contents=replace(contents, compression=""))


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """A pool's config with marked places for what belongs to one machine."""

    cluster: ClusterSettings
    pool: PoolSettings
    traits: NodeTraits
    first: bool
    shared: Config = field(repr=False)

    def render(self, machine: MachineIdentity, bootstrap: Bootstrap) -> Config:
        """The config of one machine. A file that the user's extras replaced stays the user's."""
        _check_bootstrap(self.pool, bootstrap, first=self.first)
        own = {entry.path: entry for entry in self._own_files(machine, bootstrap)}
        files = tuple(_fill(entry, own) for entry in self.shared.storage.files)
        return replace(self.shared, storage=replace(self.shared.storage, files=files))

    def _own_files(self, machine: MachineIdentity, bootstrap: Bootstrap) -> list[File]:
        text = kubeadm_config(self.cluster, self.pool, machine, self.traits, bootstrap)
        own = [
            file(layout.KUBEADM_CONFIG, text, mode=_SECRET),
            file(layout.MACHINE_FILE, _machine_file(self.cluster, self.pool, machine)),
            file(layout.HOSTNAME_FILE, machine.name + "\n", overwrite=True),
        ]
        if isinstance(bootstrap, JoinWorker):
            return own
        own += [
            file(f"{layout.PKI_FOLDER}/{path}", text, mode=_SECRET)
            for path, text in bootstrap.secrets.files().items()
        ]
        own.append(file(layout.ENCRYPTION_CONFIG, encryption_config(bootstrap.secrets), mode=_SECRET))
        if isinstance(bootstrap, JoinControlPlane):
            own.append(file(layout.PEER_FILE, bootstrap.peer + "\n"))
        return own


def _base(cluster: ClusterSettings, pool: PoolSettings, traits: NodeTraits, *, first: bool) -> Config:
    base = config(
        files=_files(cluster, pool, traits, first=first),
        directories=_directories(pool),
        links=_links(pool),
        units=units.node_units(cluster, pool, traits, first=first),
        users=_users(cluster, pool),
    )
    return replace(base, storage=replace(base.storage, filesystems=_filesystems(pool, traits)))


def _users(cluster: ClusterSettings, pool: PoolSettings) -> list[User]:
    keys = tuple(dict.fromkeys(pool.ssh_keys))
    users = [user("core", keys=keys)] if keys else []
    return [*users, exosphere_user(keys)] if cluster.exosphere else users


def _files(cluster: ClusterSettings, pool: PoolSettings, traits: NodeTraits, *, first: bool) -> list[File]:
    files = [_mark(path, mode) for path, mode in _own_paths(pool, traits, first=first)]
    files += _extension_files(cluster, pool)
    if cluster.flavor == "sysext":
        files.append(file(layout.CONTAINERD_CONFIG, _containerd_config(pool.kubelet), overwrite=True))
    patch = kubelet_patch(pool.settings)
    if patch:
        files.append(file(layout.KUBELET_PATCH, patch))
    if cluster.exosphere:
        files.append(file(layout.EXOSPHERE_SCRIPT, exosphere_script(traits), mode=0o700))
    if cluster.vip and pool.role is NodeRole.CONTROL_PLANE:
        files.append(file(layout.VIP_MANIFEST, vip_manifest(cluster, cluster.vip, first=first), mode=_SECRET))
    return [
        *files,
        *(file(one.path, one.text, mode=one.mode) for one in cluster.files),
        file(layout.MODULES_CONF, "overlay\nbr_netfilter\n"),
        file(layout.SYSCTL_CONF, _SYSCTLS),
        file(layout.UPDATE_CONF, units.update_conf(cluster), overwrite=True),
        file(layout.IDENTITY_SCRIPT, scripts.identity_script(traits), mode=_SCRIPT),
        file(layout.SERVICES_SCRIPT, scripts.services_script(cluster), mode=_SCRIPT),
        file(
            layout.KUBEADM_SCRIPT,
            scripts.kubeadm_script(cluster, pool.role, traits, first=first),
            mode=_SCRIPT,
        ),
        file(layout.EVIDENCE_SCRIPT, scripts.evidence_script(traits), mode=_SCRIPT),
    ]


def _own_paths(pool: PoolSettings, traits: NodeTraits, *, first: bool) -> list[tuple[str, int]]:
    """Paths and modes of the files that `NodeTemplate.render` fills in."""
    paths = [(layout.KUBEADM_CONFIG, _SECRET), (layout.MACHINE_FILE, 0o644)]
    if traits.node_name is NodeNameRule.MACHINE_NAME:
        paths.append((layout.HOSTNAME_FILE, 0o644))
    if pool.role is NodeRole.CONTROL_PLANE:
        paths += [(f"{layout.PKI_FOLDER}/{path}", _SECRET) for path in _PKI_FILES]
        paths.append((layout.ENCRYPTION_CONFIG, _SECRET))
        if not first and not traits.hairpin:
            paths.append((layout.PEER_FILE, 0o644))
    return paths


def _extension_files(cluster: ClusterSettings, pool: PoolSettings) -> list[File]:
    image = pool.image
    if image is None:
        return []
    path = layout.extension_image(image.version, image.arch)
    conf = f"{layout.SYSUPDATE_FOLDER}/{transfer_name(image.version)}"
    return [
        remote_file(path, image.url, hash=f"sha256-{image.sha256}"),
        file(conf, transfer_conf(image.version, cluster.feed or BAKERY)),
        file(layout.NOOP_CONF, NOOP_CONF),
    ]


def _directories(pool: PoolSettings) -> list[Directory]:
    folders = [directory(layout.VOLUME_PLUGINS.rstrip("/"))]
    if pool.role is NodeRole.CONTROL_PLANE:
        folders += [directory(path, mode=0o700) for path in (layout.PKI_FOLDER, layout.ENCRYPTION_FOLDER)]
    return folders


def _links(pool: PoolSettings) -> list[Link]:
    if pool.image is None:
        return []
    target = layout.extension_image(pool.image.version, pool.image.arch)
    return [link(layout.EXTENSION_LINK, target, overwrite=True)]


def _filesystems(pool: PoolSettings, traits: NodeTraits) -> tuple[Filesystem, ...]:
    if pool.role is NodeRole.WORKER or not traits.etcd_device:
        return ()
    return (units.etcd_filesystem(traits),)


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _mark(path: str, mode: int) -> File:
    return File(
        path=path, mode=mode, contents=_marker(path), overwrite=True if path == layout.HOSTNAME_FILE else None
    )


def _marker(path: str) -> Resource:
    return Resource(compression="", source=f"data:,flatyard-place{path}")


def _fill(entry: File, own: dict[str, File]) -> File:
    if entry.path in own and entry.contents == _marker(entry.path):
        return replace(entry, contents=own[entry.path].contents)
    return entry


def _machine_file(cluster: ClusterSettings, pool: PoolSettings, machine: MachineIdentity) -> str:
    fields = {
        "cluster": cluster.id,
        "machine": machine.id,
        "name": machine.name,
        "role": pool.role.value,
        "pool": pool.name,
        "kubernetes": pool.kubelet,
    }
    return json.dumps(fields) + "\n"


def _containerd_config(kubelet: str) -> str:
    # version 2, because containerd 1.x reads no newer one and 2.x converts it
    return (
        "version = 2\n"
        '[plugins."io.containerd.grpc.v1.cri"]\n'
        f'sandbox_image = "{sandbox_image(kubelet)}"\n'
        '[plugins."io.containerd.grpc.v1.cri".cni]\n'
        'bin_dir = "/opt/cni/bin"\n'
        'conf_dir = "/etc/cni/net.d"\n'
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n'
        'runtime_type = "io.containerd.runc.v2"\n'
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n'
        "SystemdCgroup = true\n"
    )


_SYSCTLS = """\
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
vm.overcommit_memory = 1
vm.panic_on_oom = 0
kernel.keys.root_maxbytes = 25000000
kernel.keys.root_maxkeys = 1000000
kernel.panic = 10
kernel.panic_on_oops = 1
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
"""


def _check(cluster: ClusterSettings, pool: PoolSettings, traits: NodeTraits, *, first: bool) -> None:
    if first and pool.role is NodeRole.WORKER:
        raise ValueError("the first machine of a cluster is a control plane")
    if cluster.flavor == "sysext" and pool.image is None:
        raise Refused(f"pool {pool.name} has no extension image", why="flavor sysext runs only pinned images")
    if cluster.flavor != "sysext" and pool.image is not None:
        raise Refused(f"pool {pool.name} has an extension image", why="flavor image has Kubernetes baked in")
    if pool.image and pool.image.version != pool.kubelet:
        raise Refused(
            f"pool {pool.name} wants kubelet {pool.kubelet}, but its extension image is {pool.image.version}"
        )
    if cluster.exosphere and traits.cloud != "openstack":
        raise Refused(f"{traits.cloud} has no Exosphere", next="leave out spec.access.exosphere")
    if pool.image and pool.image.arch not in traits.architectures:
        raise Refused(f"{traits.cloud} has no {pool.image.arch} machines", next="choose another machine size")


def _check_spec(pool: PoolSettings) -> None:
    """The user's configs must be ones that the release's Ignition reads: it would stop the first boot."""
    known = release(pool.flatcar)
    for extra in (*pool.extras, *((pool.overwrite,) if pool.overwrite else ())):
        version = extra.ignition.version
        if known and _version_key(version) > _version_key(known.spec):
            raise Refused(
                f"pool {pool.name} has a config of Ignition specification {version}, which its machines cannot read",
                why=f"Flatcar {known.version} ships Ignition {known.ignition}, which reads up to {known.spec}",
                next=f"write it as {known.spec} (Butane: flatcar 1.1.0), or choose a newer Flatcar",
            )


def _check_bootstrap(pool: PoolSettings, bootstrap: Bootstrap, *, first: bool) -> None:
    control_plane = pool.role is NodeRole.CONTROL_PLANE
    wanted = Init if first else JoinControlPlane if control_plane else JoinWorker
    if not isinstance(bootstrap, wanted):
        raise ValueError(f"a {pool.role.value} of this template boots with {wanted.__name__}")
