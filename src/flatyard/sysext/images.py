"""The images that kubeadm starts, from the same compiled programs as the nodes', under the names that it expects.

Four archives: Kubernetes' own four images in one, because they have one program between them, and etcd, CoreDNS and
pause, which stay the same from patch to patch. They are compiled here and only named like upstream's: every output says
so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatyard.sysext import recipes, source
from flatyard.sysext.cache import cache_folder
from flatyard.sysext.contents import Contents, Copy, Entry, Folder, Link, Text, contents
from flatyard.sysext.layout import extension_arch
from flatyard.sysext.network_tools import network_tools
from flatyard.sysext.oci import Archive, Image, check_tool, write
from flatyard.sysext.recipes import KUBERNETES_PROGRAM
from flatyard.sysext.source import Compiled, Say, Watch

RECORD = ".archives.json"
_FORMAT = 1
"""Counted up when images are laid out in another way."""
REGISTRY = "registry.k8s.io"
_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
_BIN = "usr/local/bin"
_NET_BIND_SERVICE = 1 << 10
_NOBODY = "65532"
"""CoreDNS as upstream's image runs it: a user of no name, which may open port 53 by its program's capability."""
_USER_AND_GROUP = "65535:65535"
"""As upstream's pause."""

_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n",
    "etc/group": b"root:x:0:\nnobody:x:65534:\n",
    "etc/nsswitch.conf": b"hosts: files dns\n",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Full names of the images that kubeadm of a version starts; the lists of `kubeadm config images list`."""

    kubernetes: tuple[str, ...]
    etcd: str
    coredns: str
    pause: str

    @property
    def all(self) -> tuple[str, ...]:
        """In one tuple."""
        return (*self.kubernetes, self.etcd, self.coredns, self.pause)


def names(version: str) -> Names:
    """For a Kubernetes version such as `v1.34.3`; raises Refused for an unsupported minor."""
    beside = recipes.companions(version)
    return Names(
        tuple(f"{REGISTRY}/{server}:{version}" for server in _SERVERS),
        f"{REGISTRY}/etcd:{beside.etcd}-0",
        f"{REGISTRY}/coredns/coredns:v{beside.coredns}",
        f"{REGISTRY}/pause:{beside.pause}",
    )


def _nothing(text: str) -> None:
    """Nobody listens."""


def _unwatched(progress: source.Progress) -> None:
    """Nobody watches."""


def control_plane(
    version: str,
    arch: str,
    *,
    root: Path,
    folder: Path | None = None,
    say: Say = _nothing,
    watch: Watch = _unwatched,
) -> tuple[Archive, ...]:
    """Compile what is missing and write the archives; for callers without a loop.

    `root`: a system that has iptables, nft and conntrack for kube-proxy. `folder`: where the archives go; by default
    the cache. Raises Refused and Failed as `source.compile_each` and `network_tools` do.
    """
    wanted = recipes.control_plane_recipes(version)
    tools = network_tools(root, arch)
    check_tool()
    compiled = source.compile_all(wanted, arch, say=say, watch=watch)
    key = _key(version, compiled, tools)
    kept = folder or cache_folder() / "sysext/images" / key
    if (found := _read(kept, key)) is None:
        found = archives(version, arch, compiled, root=root, folder=kept)
        _write(kept, key, found)
    return found


def _key(version: str, compiled: Mapping[str, Compiled], tools: Contents) -> str:
    """What the archives depend on: compiled components, whose folders are named after their inputs, and the tools."""
    folders = "".join(f"{one.folder.name}\n" for one in compiled.values())
    digest = hashlib.sha256(f"{_FORMAT}\n{version}\n{folders}".encode())
    for path, entry in tools.entries.items():
        digest.update(f"{path}\n{entry.target if isinstance(entry, Link) else ''}\n".encode())
        digest.update(entry.source.read_bytes() if isinstance(entry, Copy) else b"")
    return digest.hexdigest()[:16]


def _read(folder: Path, key: str) -> tuple[Archive, ...] | None:
    """What an earlier run wrote of the same inputs; None unless all of it is there."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["key"] != key:
            return None
        found = tuple(
            Archive(folder / row["name"], tuple(row["images"]), row["size"], row["sha256"])
            for row in record["archives"]
        )
        return found if all(one.path.stat().st_size == one.size for one in found) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(folder: Path, key: str, found: tuple[Archive, ...]) -> None:
    """Written last, and in one step: an archive without it is made again."""
    rows = [
        {"name": one.path.name, "images": one.references, "size": one.size, "sha256": one.sha256}
        for one in found
    ]
    made = folder / f".{RECORD}"
    made.write_text(json.dumps({"key": key, "archives": rows}, indent=2) + "\n")
    made.replace(folder / RECORD)


def archives(
    version: str,
    arch: str,
    compiled: Mapping[str, Compiled],
    *,
    root: Path,
    folder: Path,
    compress: bool = True,
) -> tuple[Archive, ...]:
    """The archives of compiled components, by `control_plane_recipes`' names, written into a folder."""
    called = names(version)
    beside = recipes.companions(version)
    plain = contents({path: Text(text) for path, text in _ACCOUNTS.items()} | {"tmp": Folder(0o1777)})
    kubernetes = _kubernetes(compiled[KUBERNETES_PROGRAM])
    tools = network_tools(root, arch)
    etcd = _programs({**compiled["etcd"].programs, **compiled["etcd-tools"].programs}, _BIN)
    planned = {
        f"kubernetes-{version}": _kubernetes_images(called.kubernetes, plain, tools, kubernetes),
        f"etcd-{beside.etcd}-0": [Image(called.etcd, (plain, etcd))],
        f"coredns-v{beside.coredns}": [
            Image(
                called.coredns,
                (plain, _programs(compiled["coredns"].programs, "", _NET_BIND_SERVICE)),
                ("/coredns",),
                _NOBODY,
            )
        ],
        f"pause-{beside.pause}": [
            Image(called.pause, (_programs(compiled["pause"].programs, ""),), ("/pause",), _USER_AND_GROUP)
        ],
    }
    return tuple(
        write(images, folder / f"{name}-{extension_arch(arch)}.tar", arch, compress=compress)
        for name, images in planned.items()
    )


def _kubernetes_images(
    called: Sequence[str], plain: Contents, tools: Contents, kubernetes: Contents
) -> list[Image]:
    """The program is the lowest layer in all of them, so that containerd unpacks it once."""
    found = []
    for reference in called:
        server = reference.rpartition("/")[2].partition(":")[0]
        above = (plain, tools) if server == "kube-proxy" else (plain,)
        found.append(Image(reference, (kubernetes, *above), (f"/{_BIN}/{server}",)))
    return found


def _kubernetes(compiled: Compiled) -> Contents:
    """One file and a link for each name: the same layer in all four images."""
    path = compiled.programs[KUBERNETES_PROGRAM]
    links: dict[str, Entry] = {f"{_BIN}/{server}": Link(KUBERNETES_PROGRAM) for server in _SERVERS}
    return contents(links | {f"{_BIN}/{KUBERNETES_PROGRAM}": Copy(path, path.stat().st_size)})


def _programs(programs: Mapping[str, Path], folder: str, capabilities: int = 0) -> Contents:
    prefix = f"{folder}/" if folder else ""
    return contents(
        {
            f"{prefix}{name}": Copy(path, path.stat().st_size, capabilities=capabilities)
            for name, path in programs.items()
        }
    )
