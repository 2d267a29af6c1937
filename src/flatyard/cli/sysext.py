"""`flatyard sysext`: extension images, and feeds of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit, Failed, Severity
from flatyard.cli.options import common, output, talk_of
from flatyard.cli.sysext_build import ARCHITECTURES, build_command
from flatyard.cli.sysext_feed import feed_command, mirror_command, serve_command
from flatyard.cli.sysext_images import images_command

if TYPE_CHECKING:
    from flatyard.sysext.feed_folder import Checked, Listed
    from flatyard.sysext.inspection import Finding, Inspection
    from flatyard.sysext.squashfs_read import Node

FILE = click.Path(exists=True, dir_okay=False)
FOLDER = click.Path(exists=True, file_okay=False)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def visible(text: str) -> str:
    """As `ignition.report.visible`: names in images must not steer a terminal."""
    from flatyard.ignition import report

    return report.visible(text)


@click.group("sysext", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Build, inspect and hand out system extension images, Kubernetes' above all.

    Images and feeds are laid out and named as sysext-bakery does it, so that nodes can take either's.
    """


command.add_command(build_command)


# ---- inspect


@command.command("inspect")
@click.argument("image", type=FILE)
@click.option("--os-release", metavar="FILE", type=FILE, help="Ask for this OS instead of any Flatcar.")
@click.option("--arch", type=click.Choice(list(ARCHITECTURES)), help="Ask for this architecture too.")
@output("text", "json")
@common
def inspect_command(image: str, os_release: str | None, arch: str | None, output: str) -> int:
    """Say what IMAGE holds, and whether a node would merge it.

    Exit code 1 if it would not. Reads squashfs images of any bakery; needs neither root nor a mount.
    """
    from flatyard.sysext import extension_release
    from flatyard.sysext.inspection import inspect

    host: Mapping[str, str] = extension_release.FLATCAR
    if os_release:
        host = extension_release.parse(Path(os_release).read_text(encoding="utf-8", errors="replace"))
    found = inspect(Path(image), host=host, arch=arch or "")
    if output == "json":
        talk_of().data(json.dumps(_inspection_json(found), indent=2))
    else:
        for line in _inspection_lines(found, host):
            talk_of().data(visible(line))
        for finding in found.findings:
            _tell(finding)
    return Exit.DONE if found.merges else Exit.FAILED


def _inspection_lines(found: Inspection, host: Mapping[str, str]) -> Iterator[str]:
    release, summary = found.release, found.summary
    packing = f"squashfs, {summary.compressor}, blocks of {human(summary.block)}"
    yield f"image      {found.path.name}  {human(summary.size)}  ({packing})"
    yield f"extension  {found.name}"
    if release:
        fits = "any OS" if release.get("ID") == "_any" else release.get("ID", "no OS")
        reload = "; units are read again" if release.get("EXTENSION_RELOAD_MANAGER") == "1" else ""
        yield f"fits       {fits}, {release.get('ARCHITECTURE', 'any architecture')}{reload}"
    if found.versions:
        yield f"versions   {', '.join(f'{name} {version}' for name, version in found.versions.items())}"
    answer = "yes" if found.merges else "no"
    yield f"merges     {answer}, on {host.get('PRETTY_NAME') or host.get('ID', 'this OS')}"
    yield ""
    for node in found.nodes[1:]:
        yield _node_line(node)


def _node_line(node: Node) -> str:
    steps = node.path.split("/")
    name = f"{'  ' * (len(steps) - 1)}{steps[-1]}"
    if node.kind == "dir":
        return f"{name}/"
    if node.kind == "link":
        return f"{name} -> {node.target}"
    return f"{name:<48} {human(node.size):>10}"


def _tell(finding: Finding) -> None:
    talk = talk_of()
    kind = "error" if finding.severity is Severity.ERROR else "warning"
    if talk.quiet > (1 if kind == "error" else 0):
        return
    word = talk.style(f"{finding.severity.value}:", kind)
    talk.line(f"{visible(finding.where)}: {word} {visible(finding.what)}")
    talk.line(f"  {talk.style('next:', 'hint')} {visible(finding.next)}")


def _inspection_json(found: Inspection) -> Mapping[str, object]:
    return {
        "image": str(found.path),
        "extension": found.name,
        "merges": found.merges,
        "release": dict(found.release),
        "versions": dict(found.versions),
        "format": {"compressor": found.summary.compressor, "block": found.summary.block},
        "size": found.summary.size,
        "findings": [
            {
                "severity": finding.severity.value,
                "where": finding.where,
                "what": finding.what,
                "next": finding.next,
            }
            for finding in found.findings
        ],
        "contents": [_node_json(node) for node in found.nodes[1:]],
    }


def _node_json(node: Node) -> Mapping[str, object]:
    entry: dict[str, object] = {"path": f"/{node.path}", "kind": node.kind.value, "mode": f"{node.mode:04o}"}
    if node.kind == "file":
        entry["size"] = node.size
    if node.kind == "link":
        entry["target"] = node.target
    if node.xattrs:
        entry["xattrs"] = sorted(node.xattrs)
    return entry


def human(size: int) -> str:
    """Bytes in the unit that a person reads: 60.2 MiB."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if amount < _STEP:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} {_UNITS[-1]}"


# ---- verify


@command.command("verify")
@click.argument("target", metavar="IMAGE|DIR", type=click.Path(exists=True))
@click.option("--sha256", metavar="DIGITS", help="What IMAGE must hash to, instead of SHA256SUMS beside it.")
@output("text", "json")
@common
def verify_command(target: str, sha256: str | None, output: str) -> int:
    """Compare an image, or all images of a feed, with their SHA256SUMS.

    Exit code 1 if one is damaged, missing or not listed.
    """
    from flatyard.sysext.feed_folder import check_folder, check_image

    path = Path(target)
    if sha256 is not None:
        sha256 = _digits(sha256)
        if path.is_dir():
            raise click.UsageError("--sha256 is for one image.")
    checked = check_folder(path) if path.is_dir() else (check_image(path, sha256 or ""),)
    if not checked:
        raise Failed(
            f"there are no images in {target}", next=f"flatyard sysext build EXT DIR --to {target}/EXT"
        )
    _print_checked(checked, output)
    return Exit.FAILED if any(row.trouble for row in checked) else Exit.DONE


def _digits(text: str) -> str:
    digits = text.strip().lower().removeprefix("sha256:")
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise click.BadParameter("64 hexadecimal digits are wanted.", param_hint="'--sha256'")
    return digits


def _print_checked(checked: tuple[Checked, ...], form: str) -> None:
    talk = talk_of()
    if form == "json":
        rows = [{"path": str(row.path), "sha256": row.sha256, "trouble": row.trouble} for row in checked]
        talk.data(json.dumps(rows, indent=2))
        return
    for row in checked:
        if row.trouble:
            talk.error(f"{visible(str(row.path))} {row.trouble}")
        else:
            talk.data(f"{row.sha256}  {visible(str(row.path))}")


# ---- list and feed


@command.command("list")
@click.argument("folder", metavar="DIR", type=FOLDER)
@output("text", "json")
@common
def list_command(folder: str, output: str) -> None:
    """List the images below DIR by extension, version and architecture."""
    from flatyard.cli.tables import NONE, lined_up
    from flatyard.sysext.feed_folder import listed

    rows = listed(Path(folder))
    if output == "json":
        talk_of().data(json.dumps([_listed_json(row) for row in rows], indent=2))
        return
    if not rows:
        talk_of().say(f"there are no images in {folder}")
        return
    head = ("EXTENSION", "VERSION", "ARCH", "SIZE", "SHA256")
    body = [
        (row.image.extension, row.image.version, row.image.arch, human(row.size), row.pinned[:12] or NONE)
        for row in rows
    ]
    talk_of().data(visible(lined_up([head, *body])))


def _listed_json(row: Listed) -> Mapping[str, object]:
    image = row.image
    return {
        "extension": image.extension,
        "version": image.version,
        "arch": image.arch,
        "path": str(row.path),
        "size": row.size,
        "sha256": row.pinned or None,
    }


command.add_command(feed_command)
command.add_command(images_command)
command.add_command(mirror_command)
command.add_command(serve_command)
