"""`flatyard sysext images`: what kubeadm starts, as archives that containerd imports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit, Failed
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.sysext.oci import Archive

_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)")


@click.command("images")
@click.argument("version", metavar="VERSION")
@click.option("--arch", type=click.Choice(["x86-64", "arm64"]), help="Default: this machine's.")
@click.option(
    "--root",
    metavar="DIR",
    required=True,
    type=click.Path(exists=True, file_okay=False),
    help="A system that has iptables, nft and conntrack, which kube-proxy calls.",
)
@click.option(
    "--to", metavar="DIR", default=".", type=click.Path(file_okay=False), help="Where the archives go."
)
@output("text", "json")
@common
def images_command(version: str, arch: str | None, root: str, to: str, output: str) -> int:
    """Compile a control plane's programs and write its images, for machines that reach no registry.

    The archives have the names that kubeadm expects, though the images are compiled here and are not upstream's.
    `ctr -n k8s.io images import FILE` takes each. What is compiled already is not compiled again.
    """
    from flatyard.cli.compiling import shown
    from flatyard.cli.sysext_build import ARCHITECTURES
    from flatyard.sysext.images import control_plane
    from flatyard.sysext.source import host_arch

    found = _VERSION.fullmatch(version)
    if not found:
        raise click.BadParameter(f"{version!r} is not like v1.34.3.", param_hint="'VERSION'")
    with shown(talk_of()) as lines:
        try:
            archives = control_plane(
                f"v{found[1]}",
                ARCHITECTURES[arch] if arch else host_arch(),
                root=Path(root),
                folder=Path(to),
                say=lines.say,
                watch=lines.watch,
            )
        except OSError as problem:
            raise Failed(f"{to}: {problem.strerror or problem}", next="another folder with --to") from None
    _print(archives, output)
    return Exit.DONE


def _print(archives: tuple[Archive, ...], form: str) -> None:
    talk = talk_of()
    if form == "json":
        facts = [
            {"path": str(a.path), "images": a.references, "size": a.size, "sha256": a.sha256}
            for a in archives
        ]
        talk.data(json.dumps(facts, indent=2))
        return
    for archive in archives:
        talk.data(f"{archive.sha256}  {archive.path}")
        for reference in archive.references:
            talk.detail(f"  {reference}")
    talk.next(("ctr -n k8s.io images import FILE", "on a node, before kubeadm"))
