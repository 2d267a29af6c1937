"""Kubernetes' programs as upstream releases them: downloaded, and used only when sum and signature are right.

dl.k8s.io has VERSION/bin/linux/ARCH/NAME, with .sha256, .sig and .cert beside each; the CNI plugins are a GitHub
release whose sums are in the table below, since nobody signs them. Everything is kept below the cache by its sha256,
so a second image of the same version downloads checksums and signatures alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.sysext.cache import by_sha256, cache_folder
from flatyard.sysext.download import Download, Downloader, NotThere, WrongBytes, together
from flatyard.sysext.kubernetes_tree import CNI, COMMANDS, Binaries
from flatyard.sysext.signature import Signer, verify

KUBERNETES = "https://dl.k8s.io"
CNI_PLUGINS = "https://github.com/containernetworking/plugins/releases/download"
ORIGIN = "upstream release"

# Of cni-plugins-linux-ARCH-VERSION.tgz, as that project's releases and Kubespray's checksums.yml have them.
CNI_SUMS: Mapping[tuple[str, str], str] = {
    ("v1.9.1", "amd64"): "b98f74a0f8522f0a83867178729c1aa70f2158f90c45a2ca8fa791db1c76b303",
    ("v1.9.1", "arm64"): "56171987d3947707c3563db2f4001bccaf50fd63468611b9f3cbecb1375ee7ec",
}
_SHA256 = re.compile(rb"\s*([0-9a-fA-F]{64})\b")
_PLUGIN = re.compile(r"(?:\./)?([a-z0-9][a-z0-9-]*)")
_LARGEST_PLUGIN = 256 << 20


class Release:
    """Where releases come from. `base_url` and `cni_url` may be mirrors with the same paths.

    `signed=False` is for mirrors without signatures: sums alone are then checked, and they come from the mirror too.
    `cni_sums` are expected sums by version and architecture, by default the table's; for others the server's own
    are taken.
    """

    def __init__(
        self,
        *,
        base_url: str = KUBERNETES,
        cni_url: str = CNI_PLUGINS,
        signed: bool = True,
        signer: Signer | None = None,
        cni_sums: Mapping[tuple[str, str], str] | None = None,
        say: Callable[[str], None] = lambda _: None,
        downloader: Downloader | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._cni = cni_url.rstrip("/")
        self._signed = signed
        self._signer = signer
        self._cni_sums = CNI_SUMS if cni_sums is None else cni_sums
        self._say = say
        self._downloader = downloader or Downloader(say=say)

    async def binaries(self, version: str, cni_version: str, arch: str) -> Binaries:
        """The programs of one version (`v1.34.3`) for an architecture (`amd64`).

        Raises Failed: NotThere for a version that is not released, WrongBytes and WrongSignature for what is not
        what it should be.
        """
        async with self._downloader:
            commands = (self._command(version, arch, name) for name in COMMANDS)
            found = await together((*commands, self._plugins(cni_version, arch)))
        paths = {name: path for part in found for name, path in part.items()}
        return Binaries(version, cni_version, arch, paths, ORIGIN)

    async def _command(self, version: str, arch: str, name: str) -> Mapping[str, Path]:
        url = f"{self._base}/{version}/bin/linux/{arch}/{name}"
        try:
            sha256 = await self._sum(f"{url}.sha256")
        except NotThere as problem:
            raise NotThere(
                f"there is no Kubernetes {version} for {arch} at {self._base}",
                why=problem.what,
                next="choose a released version: https://kubernetes.io/releases/",
            ) from None
        path = by_sha256(sha256)
        await self._fetch(f"{name} {version}", Download(url, path, sha256))
        if self._signed:
            await self._check_signature(f"{name} {version}", url, sha256)
        return {name: path}

    async def _check_signature(self, name: str, url: str, sha256: str) -> None:
        try:
            signature, certificate = await together(
                (self._downloader.small(f"{url}.sig"), self._downloader.small(f"{url}.cert"))
            )
        except NotThere as problem:
            raise NotThere(
                f"{name} has no signature at {self._base}",
                why=problem.what,
                next="another mirror, or --no-signature if you trust this one",
            ) from None
        signed = verify(name, sha256, signature, certificate, self._signer)
        self._say(f"{name}: sha256 and signature of {signed:%Y-%m-%d} are right")

    async def _plugins(self, version: str, arch: str) -> Mapping[str, Path]:
        url = f"{self._cni}/{version}/cni-plugins-linux-{arch}-{version}.tgz"
        sha256 = self._cni_sums.get((version, arch)) or await self._sum(f"{url}.sha256")
        archive = by_sha256(sha256)
        await self._fetch(f"CNI plugins {version}", Download(url, archive, sha256))
        folder = await asyncio.to_thread(unpack_plugins, archive, cache_folder() / "cni" / sha256)
        self._say(f"CNI plugins {version}: sha256 is right")
        return {f"{CNI}{path.name}": path for path in sorted(folder.iterdir())}

    async def _fetch(self, name: str, download: Download) -> None:
        if not download.target.is_file():
            self._say(f"downloading {name}")
        await self._downloader.fetch(download)

    async def _sum(self, url: str) -> str:
        found = _SHA256.match(await self._downloader.small(url))
        if not found:
            raise WrongBytes(f"{url} is not what it should be", why="it does not start with a sha256")
        return found[1].decode().lower()


def unpack_plugins(archive: Path, folder: Path) -> Path:
    """The programs of a CNI plugins archive in a folder, which is there whole or not at all.

    Only plain files at the archive's top are taken. Raises Failed for an archive that is none.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        made = Path(beside) / "plugins"
        made.mkdir()
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    _unpack(tar, member, made)
        except (tarfile.TarError, EOFError, OSError) as problem:
            raise Failed(f"the CNI plugins' archive {archive} cannot be unpacked", why=str(problem)) from None
        with contextlib.suppress(OSError):  # another run was faster, with the same bytes
            made.rename(folder)
    return folder


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    name = _PLUGIN.fullmatch(member.name)
    source = tar.extractfile(member) if member.isfile() and name else None
    if source is None or name is None:
        return
    if member.size > _LARGEST_PLUGIN:
        raise tarfile.TarError(f"{member.name} has {member.size} bytes")
    path = folder / name[1]
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)
    path.chmod(0o755)
