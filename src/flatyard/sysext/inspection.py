"""Looks into an image: what it holds, and whether a node would merge it; each finding with its place and a way out.

The rules are systemd-sysext(8)'s and extension_release's. Reads images of anyone's, as any user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Failed, Severity
from flatyard.sysext import extension_release
from flatyard.sysext.contents import outside
from flatyard.sysext.squashfs_read import Kind, Node, SquashImage, Summary, Unreadable

_OPAQUE = (
    "trusted.overlay.opaque",
    "user.overlay.opaque",
)
_STRICT = "user.extension-release.strict"
_ARCHITECTURE = re.compile(r"-(x86-64|arm64)\.raw$")
_VERSIONED = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*?)-v?\d[^-]*(-[a-z]+\.\d+)?(-(x86-64|arm64))?\.raw")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that keeps an image from being merged (error) or that a reader should know (warning).

    `where` is a path in the image, or the image's file name.
    """

    severity: Severity
    where: str
    what: str
    next: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an image holds and what is wrong with it. `name` is the extension's, empty where none can be told."""

    path: Path
    name: str
    summary: Summary
    nodes: tuple[Node, ...]
    release: Mapping[str, str]
    versions: Mapping[str, str]
    """What the bakery's version files say: `kubernetes`, `kubernetes-cni`."""
    findings: tuple[Finding, ...]

    @property
    def merges(self) -> bool:
        """Whether the host that was asked about would merge it."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def inspect(
    image: Path, *, host: Mapping[str, str] = extension_release.FLATCAR, arch: str = ""
) -> Inspection:
    """Look into an image, for a host with these os-release fields and this architecture (`x86-64`; empty: any).

    Raises Failed for a file that cannot be read or is no squashfs image.
    """
    try:
        with image.open("rb") as file, SquashImage(file) as squashed:
            return _inspected(image, squashed, host, arch)
    except Unreadable as problem:
        raise Failed(
            f"{image} cannot be read", why=str(problem), next="fetch or build it again, and verify its sha256"
        ) from None
    except OSError as problem:
        raise Failed(f"{image} cannot be read", why=problem.strerror or str(problem)) from None


def _inspected(image: Path, squashed: SquashImage, host: Mapping[str, str], arch: str) -> Inspection:
    nodes = tuple(squashed.nodes())
    by_path = {node.path: node for node in nodes}
    releases = [
        path.rpartition(extension_release.PREFIX)[2]
        for path in by_path
        if path.startswith(f"{extension_release.FOLDER}/{extension_release.PREFIX}")
    ]
    name = _name(image.name, releases)
    findings = [*_about_names(image.name, name, releases, by_path)]
    release = _release(squashed, name)
    if release is None:
        findings += _without_release(name)
    else:
        findings += _about_host(extension_release.path_of(name), release, host, arch)
    findings += _about_file_name(image.name, release or {})
    findings += _about_tree(nodes)
    versions = dict(_versions(squashed))
    return Inspection(image, name, squashed.summary, nodes, release or {}, versions, tuple(findings))


def _name(file: str, releases: list[str]) -> str:
    """The extension's name: that of its release file, or the one in the file's name."""
    versioned = _VERSIONED.fullmatch(file)
    wanted = versioned["name"] if versioned else file.removesuffix(".raw")
    if wanted in releases or not releases:
        return wanted
    return sorted(releases)[0]


def _release(squashed: SquashImage, name: str) -> Mapping[str, str] | None:
    content = squashed.content(extension_release.path_of(name), limit=1 << 16)
    return None if content is None else extension_release.parse(content.decode("utf-8", "replace"))


def _versions(squashed: SquashImage) -> Iterator[tuple[str, str]]:
    for name in ("kubernetes", "kubernetes-cni"):
        content = squashed.content(f"usr/local/share/{name}-version", limit=1 << 12)
        if content is not None:
            yield name, content.decode("utf-8", "replace").strip()


# ---- findings


def _about_names(file: str, name: str, releases: list[str], nodes: Mapping[str, Node]) -> Iterator[Finding]:
    """A node merges NAME.raw, or a link of that name, only with extension-release.NAME inside."""
    if not releases:
        return
    path = extension_release.path_of(name)
    lenient = nodes[path].xattrs.get(_STRICT) in (b"0", b"no", b"false", b"off")
    versioned = _VERSIONED.fullmatch(file)
    if not lenient and file != f"{name}.raw" and not (versioned and versioned["name"] == name):
        yield Finding(
            Severity.ERROR,
            file,
            f"holds extension-release.{name}, and a node merges that only as {name}.raw (else: No medium found)",
            f"rename it, or link it: /etc/extensions/{name}.raw -> {file}",
        )
    if len(releases) > 1:
        yield Finding(
            Severity.WARNING,
            f"/{extension_release.FOLDER}",
            f"has {len(releases)} release files: {', '.join(sorted(releases))}",
            f"keep extension-release.{name} alone",
        )


def _without_release(name: str) -> list[Finding]:
    path = extension_release.path_of(name)
    what = "is missing, so that no node merges the image (it says: No medium found)"
    return [Finding(Severity.ERROR, f"/{path}", what, f"flatyard sysext build {name} DIR writes one")]


def _about_host(
    path: str, release: Mapping[str, str], host: Mapping[str, str], arch: str
) -> Iterator[Finding]:
    for mismatch in extension_release.mismatches(release, host, arch):
        yield Finding(Severity.ERROR, f"/{path}: {mismatch.field}", mismatch.what, mismatch.next)


def _about_file_name(file: str, release: Mapping[str, str]) -> Iterator[Finding]:
    in_name = _ARCHITECTURE.search(file)
    inside = release.get("ARCHITECTURE", extension_release.ANY)
    if in_name and inside not in (in_name[1], extension_release.ANY):
        yield Finding(
            Severity.ERROR,
            file,
            f"its name says {in_name[1]}, its release file {inside}",
            f"rename it to {file.replace(in_name[1], inside)}, or build it again",
        )


def _about_tree(nodes: tuple[Node, ...]) -> Iterator[Finding]:
    for path in outside(node.path for node in nodes if node.path):
        yield Finding(
            Severity.WARNING, f"/{path}", "is not merged: only /usr and /opt are", "ship it below /usr"
        )
    for node in nodes:
        if any(name in _OPAQUE for name in node.xattrs):
            yield Finding(
                Severity.ERROR,
                f"/{node.path}",
                "is an opaque folder: it hides what the OS and other extensions have there",
                "remove its overlay.opaque attribute, or build the image with flatyard sysext build",
            )
        if node.path == "opt":
            yield Finding(
                Severity.WARNING, "/opt", "makes all of /opt read-only on the node", "ship it below /usr"
            )
        if node.kind is Kind.OTHER:
            yield Finding(
                Severity.WARNING, f"/{node.path}", "is a device, a pipe or a socket", "leave it out"
            )
