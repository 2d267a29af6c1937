"""`flatyard sysext build`: images of Kubernetes, and of any prepared tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Failed, Refused
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.sysext.contents import Contents
    from flatyard.sysext.kubernetes_tree import Binaries
    from flatyard.sysext.squashfs import Image

ARCHITECTURES = {"x86-64": "amd64", "arm64": "arm64"}
"""Names of architectures: systemd's, which image names have, to Kubernetes'."""
_HOSTS = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)")
_KUBERNETES = "kubernetes"


@click.command("build")
@click.argument("extension", metavar="EXT")
@click.argument("what", metavar="VERSION|DIR")
@click.option(
    "--arch", type=click.Choice(list(ARCHITECTURES)), help="Default: this machine's, or the programs'."
)
@click.option(
    "--from",
    "source",
    metavar="release|source|DIR",
    default="release",
    show_default=True,
    help="Kubernetes' programs: downloaded, compiled, or in a folder.",
)
@click.option(
    "--to", metavar="DIR", default=".", type=click.Path(file_okay=False), help="Where the image goes."
)
@click.option(
    "--version", metavar="VERSION", help="Of an image from DIR: its name is then EXT-VERSION-ARCH.raw."
)
@click.option("--level", type=click.IntRange(1, 22), default=3, show_default=True, help="zstd's level.")
@click.option("--keep-modes", is_flag=True, help="Permissions as they are in DIR, instead of 0755 and 0644.")
@click.option("--base-url", metavar="URL", help="Instead of dl.k8s.io, for --from release.")
@click.option(
    "--cni-url", metavar="URL", help="Instead of the CNI plugins' GitHub releases, for --from release."
)
@click.option("--no-signature", is_flag=True, help="Check sums alone, for mirrors that have no signatures.")
@output("text", "json")
@common
def build_command(
    extension: str,
    what: str,
    arch: str | None,
    source: str,
    to: str,
    version: str | None,
    level: int,
    keep_modes: bool,
    base_url: str | None,
    cni_url: str | None,
    no_signature: bool,
    output: str,
) -> None:
    """Make an extension image.

    `build kubernetes VERSION` makes kubernetes-VERSION-ARCH.raw as sysext-bakery lays it out; `build EXT DIR` makes
    EXT.raw, or EXT-VERSION-ARCH.raw, of any prepared tree. The same programs give the same bytes, wherever and
    whenever they are packed by the same mksquashfs.
    """
    from flatyard.sysext.contents import check_name

    check_name(extension)
    found = _VERSION.fullmatch(what)
    if extension == _KUBERNETES and found and not Path(what).is_dir():
        urls = {"base_url": base_url, "cni_url": cni_url}
        binaries = _binaries(f"v{found[1]}", arch, source, urls, signed=not no_signature)
        _print(_kubernetes(binaries, Path(to), level), output)
        return
    if not Path(what).is_dir():
        wanted = "a Kubernetes version or a folder" if extension == _KUBERNETES else "a folder"
        raise click.BadParameter(f"{what!r} is not {wanted}.", param_hint="'VERSION|DIR'")
    _print(_tree(extension, Path(what), Path(to), arch, version, level, keep_modes=keep_modes), output)


# ---- Kubernetes


def _kubernetes(binaries: Binaries, folder: Path, level: int) -> Image:
    from flatyard.sysext.kubernetes_tree import kubernetes_contents
    from flatyard.sysext.layout import image_name

    binaries.check()
    target = folder / image_name(binaries.version, binaries.arch)
    talk_of().say(f"packing {target.name}: CNI plugins {binaries.cni_version}, zstd level {level}")
    return _written(kubernetes_contents(binaries), target, level)


def _binaries(
    version: str, arch: str | None, source: str, urls: Mapping[str, str | None], *, signed: bool
) -> Binaries:
    from flatyard.sysext.kubernetes_tree import Binaries
    from flatyard.sysext.versions import cni_version

    wanted = ARCHITECTURES[arch or _host()]
    plugins = cni_version(version)
    if source == "release":
        return _released(version, plugins, wanted, urls, signed=signed)
    if source == "source":
        from flatyard.sysext.source import binaries

        return binaries(version, wanted, say=talk_of().say)
    if not Path(source).is_dir():
        raise click.BadParameter(f"{source!r} is not release, source, or a folder.", param_hint="'--from'")
    return Binaries.in_folder(Path(source), version=version, cni_version=plugins, arch=wanted, origin=source)


def _released(
    version: str, plugins: str, arch: str, urls: Mapping[str, str | None], *, signed: bool
) -> Binaries:
    import asyncio

    from flatyard.sysext.release import CNI_PLUGINS, KUBERNETES, Release

    talk = talk_of()
    if not signed:
        talk.say(f"{talk.style('warning:', 'warning')} signatures are not checked, only sums")
    base, cni = urls["base_url"] or KUBERNETES, urls["cni_url"] or CNI_PLUGINS
    release = Release(base_url=base, cni_url=cni, signed=signed, say=talk.say)
    return asyncio.run(release.binaries(version, plugins, arch))


def _host() -> str:
    import platform

    machine = platform.machine().lower()
    arch = _HOSTS.get(machine)
    if arch is None:
        raise Refused(
            f"there are no Kubernetes images for {machine}", next="say --arch x86-64 or --arch arm64"
        )
    return arch


# ---- any tree


def _tree(
    name: str,
    folder: Path,
    to: Path,
    arch: str | None,
    version: str | None,
    level: int,
    *,
    keep_modes: bool,
) -> Image:
    from flatyard.sysext.contents import read_tree, warnings
    from flatyard.sysext.extension_tree import extension_contents

    given = read_tree(folder, keep_modes=keep_modes)
    if not given.entries:
        raise Refused(f"{folder} is empty", next="put the extension's files below its usr folder")
    tree, machine = extension_contents(name, given, arch=arch or "")
    talk_of().warn(warnings(tree))
    target = to / f"{name}.raw"
    if version:
        if not machine:
            raise Refused(
                f"the architecture of {name} is not known",
                why="its tree has no programs and its release file names none",
                next="say --arch x86-64 or --arch arm64",
            )
        target = to / f"{name}-{version}-{machine}.raw"
    return _written(tree, target, level)


# ---- both


def _written(tree: Contents, target: Path, level: int) -> Image:
    from flatyard.sysext import squashfs

    try:
        return squashfs.write(tree, target, level=level)
    except OSError as problem:
        raise Failed(
            f"{target} was not written: {problem.strerror or problem}", next="another folder with --to"
        ) from None


def _print(image: Image, form: str) -> None:
    """Its sha256 only where it is asked for: hashing is a tenth of the work, and `feed` does it anyway."""
    if form == "json":
        import json

        facts = {"path": str(image.path), "size": image.size, "sha256": image.sha256}
        talk_of().data(json.dumps(facts, indent=2))
    else:
        talk_of().data(str(image.path))
