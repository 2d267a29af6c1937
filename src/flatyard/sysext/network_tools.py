"""iptables, nft and conntrack for kube-proxy's image, taken with their libraries out of a root tree.

kube-proxy calls them, and nothing in a Go module is them: so they come from an installed system, the local cloud's
stand-in for example. The tree is read, never run: no chroot, no ldd, any architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flatyard.base.errors import Refused
from flatyard.sysext.contents import Contents, Copy, Entry, Link, contents, machine_of
from flatyard.sysext.elf import needs
from flatyard.sysext.layout import extension_arch

TOOLS = {
    "usr/sbin/xtables-nft-multi": "iptables",
    "usr/sbin/xtables-legacy-multi": "iptables",
    "usr/sbin/nft": "nftables",
    "usr/sbin/conntrack": "conntrack",
}
"""Programs, and the Debian packages that have them."""
_NFT = "xtables-nft-multi"
_NAMES = tuple(
    f"{family}{what}" for family in ("iptables", "ip6tables") for what in ("", "-save", "-restore")
)
_MERGED = ("bin", "lib", "lib64", "sbin")
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_FLATCAR = "usr/lib64"
"""Where Flatcar has its libraries, xtables' plugins among them; Debian names a folder after the architecture."""
_LINKS = 40
"""As many links in one path as Linux follows."""


def network_tools(root: Path, arch: str) -> Contents:
    """An image's tree with the tools, their libraries, xtables' plugins and the plugins' own libraries.

    Raises Refused, naming the packages, when the tree has not all of them, or has them for another architecture.
    """
    return _Tree(root, arch).collected()


class _Tree:
    def __init__(self, root: Path, arch: str) -> None:
        self._root = root
        self._machine = extension_arch(arch)
        debian = f"usr/lib/{_TRIPLETS[arch]}"
        self._libraries = _FLATCAR if (root / _FLATCAR / "xtables").is_dir() else debian
        self._entries: dict[str, Entry] = {}

    def collected(self) -> Contents:
        found = {tool: self._file(tool) for tool in TOOLS}
        if missing := sorted({TOOLS[tool] for tool, path in found.items() if path is None}):
            raise Refused(
                f"{self._root} has not the tools that kube-proxy calls",
                why=f"without {', '.join(tool for tool, path in found.items() if path is None)}",
                next=f"install {' '.join(missing)} in it",
            )
        for tool in TOOLS:
            self._check_machine(tool)
            self._add(tool)
        for plugin in self._plugins():
            self._add(plugin)
        return contents(self._entries | self._links())

    def _check_machine(self, tool: str) -> None:
        file = self._file(tool)
        machine = machine_of(file.read_bytes()[:20]) if file else None
        if machine != self._machine:
            raise Refused(
                f"{self._root} is not a system for {self._machine}",
                why=f"its /{tool} is {'for ' + machine if machine else 'not a program'}",
                next="name the tree of a system for this architecture",
            )

    def _plugins(self) -> list[str]:
        """libm of libxt_statistic, for one: without it every sync fails once a Service has two endpoints."""
        folder = self._root / self._libraries / "xtables"
        names = sorted(path.name for path in folder.glob("*.so"))
        return [f"{self._libraries}/xtables/{name}" for name in names]

    def _links(self) -> dict[str, Entry]:
        merged: dict[str, Entry] = {name: Link(f"usr/{name}") for name in _MERGED}
        return merged | {f"usr/sbin/{name}": Link(_NFT) for name in _NAMES}

    def _add(self, path: str) -> None:
        """One file under the name that is asked for, and then what it needs."""
        if path in self._entries:
            return
        file = self._file(path)
        if file is None:
            raise Refused(
                f"{self._root} has no /{path}", why="a tool of kube-proxy needs it", next="repair the tree"
            )
        self._entries[path] = Copy(file, file.stat().st_size)
        wanted = needs(file)
        if wanted is not None:
            for other in self._needed(wanted.loader, wanted.libraries):
                self._add(other)

    def _needed(self, loader: str, libraries: tuple[str, ...]) -> Iterator[str]:
        if loader:
            yield self._merged(loader.lstrip("/"))
        for name in libraries:
            places = [f"{folder}/{name}" for folder in (self._libraries, "usr/lib64", "usr/lib")]
            found = next((place for place in places if self._file(place) is not None), places[0])
            yield self._merged(found)

    @staticmethod
    def _merged(path: str) -> str:
        """`lib64/ld-linux-x86-64.so.2` → `usr/lib64/…`: the image has the folders of a merged /usr."""
        return f"usr/{path}" if path.partition("/")[0] in _MERGED else path

    def _file(self, path: str) -> Path | None:
        """The file that a path means inside the tree, links followed inside it only; None without one."""
        steps, at = list(PurePosixPath(path).parts), PurePosixPath()
        followed = 0
        while steps:
            step = steps.pop(0)
            at = at.parent if step == ".." else at / step
            here = self._root / at
            if here.is_symlink():
                followed += 1
                target = PurePosixPath(here.readlink())
                if followed > _LINKS:
                    return None
                steps = [*(target.parts[1:] if target.is_absolute() else target.parts), *steps]
                at = PurePosixPath() if target.is_absolute() else at.parent
        found = self._root / at
        if found.is_file():
            return found
        # a tree without a merged /usr has its loader in /lib64
        bare = path.removeprefix("usr/")
        return self._file(bare) if bare != path and bare.partition("/")[0] in _MERGED else None
