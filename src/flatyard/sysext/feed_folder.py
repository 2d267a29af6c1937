"""A folder as a feed: what a web server hands out at BASE so that nodes find images and follow them.

    BASE/kubernetes/kubernetes-v1.34.3-x86-64.raw    the images of an extension
    BASE/kubernetes/SHA256SUMS                       what they must hash to; sysupdate reads it too
    BASE/kubernetes/kubernetes-v1.34.conf            a transfer file for each minor, and one over all of them
    BASE/kubernetes/kubernetes.conf                  (also as BASE/kubernetes.conf, where the bakery has it)
    BASE/noop.conf                                   for nodes without any other definition
    BASE/SHA256SUMS                                  all extensions' sums in one file

The same addresses as extensions.flatcar.org/extensions has. Writing is idempotent: files are replaced whole, and only
where their bytes change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Failed, InvalidInput, Position, Problem, Refused, Severity
from flatyard.sysext.contents import check_name
from flatyard.sysext.layout import (
    EXTENSION,
    NOOP_CONF,
    extension_conf,
    minor_of,
    transfer_conf,
    transfer_name,
)
from flatyard.sysext.squashfs import sha256_of

SUMS = "SHA256SUMS"
_KUBERNETES = re.compile(r"kubernetes-(?P<version>v\d+\.\d+\.\d+(-[a-z]+\.\d+)?)-(?P<arch>x86-64|arm64)\.raw")
# As the redirector takes names apart: the version is what stands between the last hyphens.
_ANY = re.compile(r"(?P<extension>[^/\0]+)-(?P<version>[^-/\0]+)-(?P<arch>x86-64|arm64)\.raw")
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_PATH = re.compile(r"^Path=(.+)/[^/]+/$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image by its file name."""

    name: str
    extension: str
    version: str
    arch: str


def named(name: str) -> NamedImage | None:
    """`kubernetes-v1.34.3-x86-64.raw` taken apart; None for other names."""
    if found := _KUBERNETES.fullmatch(name):
        return NamedImage(name, EXTENSION, found["version"], found["arch"])
    found = _ANY.fullmatch(name)
    return NamedImage(name, found["extension"], found["version"], found["arch"]) if found else None


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sorts `v1.9.0` before `v1.10.0`, in names of any kind."""
    parts = re.split(r"(\d+)", text)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


# ---- reading


@dataclass(frozen=True, slots=True)
class Listed:
    """An image in a folder. `pinned` is what SHA256SUMS says, empty where it says nothing."""

    image: NamedImage
    path: Path
    size: int
    pinned: str


def listed(folder: Path) -> tuple[Listed, ...]:
    """The images of a feed's folder, or of one extension's, by extension, version and architecture.

    Raises InvalidInput for a SHA256SUMS that is none.
    """
    found: list[Listed] = []
    for place in _places(folder):
        pins = read_sums(place / SUMS)
        for path in place.glob("*.raw"):
            image = named(path.name)
            if image and path.is_file():
                found.append(Listed(image, path, path.stat().st_size, pins.get(path.name, "")))
    return tuple(sorted(found, key=lambda row: _order(row.image)))


def _order(image: NamedImage) -> tuple[object, ...]:
    return image.extension, natural(image.version), image.arch


def _places(folder: Path) -> list[Path]:
    inner = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [folder, *sorted(inner)]


def read_sums(path: Path) -> Mapping[str, str]:
    """File names to their sha256; empty when there is no such file. Raises InvalidInput with every bad line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    return parse_sums(text, str(path))


def parse_sums(text: str, file: str) -> Mapping[str, str]:
    """As `read_sums`, of a text."""
    pins: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line.strip())
        if match:
            pins[match[2].removeprefix("./")] = match[1].lower()
        elif line.strip():
            what = "not a line of sha256sum: 64 hexadecimal digits, two blanks, a file name"
            problems.append(Problem(Severity.ERROR, Position(file, number, 1), "", what))
    if problems:
        raise InvalidInput(problems, next="make or fetch it again; do not use images from it")
    return pins


# ---- checking


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one image's check: `trouble` is empty where it is what it should be."""

    path: Path
    sha256: str
    trouble: str = ""


def check_image(path: Path, wanted: str = "") -> Checked:
    """Compare an image with a sha256, or with SHA256SUMS beside it; Failed when there is nothing to compare with."""
    pinned = wanted or read_sums(path.parent / SUMS).get(path.name, "")
    if not pinned:
        raise Failed(
            f"there is no sha256 for {path.name}",
            why=f"{path.parent / SUMS} does not have it",
            next=f"flatyard sysext verify {path} --sha256 DIGITS",
        )
    return _compared(path, pinned)


def check_folder(folder: Path) -> tuple[Checked, ...]:
    """Compare every image of a feed, or of one extension's folder, with its SHA256SUMS; unlisted ones are troubles."""
    found: list[Checked] = []
    for place in _places(folder):
        pins = read_sums(place / SUMS)
        here = {path.name for path in place.glob("*.raw")}
        found += [_compared(place / name, pins[name]) for name in sorted(here & pins.keys(), key=natural)]
        found += [_unlisted(place / name) for name in sorted(here - pins.keys(), key=natural)]
        if place != folder or here:
            missing = (name for name in sorted(pins.keys() - here, key=natural) if name.endswith(".raw"))
            found += [Checked(place / name, "", "is listed and not there") for name in missing]
    return tuple(found)


def _compared(path: Path, pinned: str) -> Checked:
    try:
        sha256 = sha256_of(path)
    except FileNotFoundError:
        return Checked(path, "", "is not there")
    if sha256 == pinned.lower():
        return Checked(path, sha256)
    return Checked(path, sha256, f"has another sha256 than {pinned.lower()}: it is damaged, or was changed")


def _unlisted(path: Path) -> Checked:
    return Checked(path, "", f"is not in {SUMS}, so nobody will use it")


# ---- writing


@dataclass(frozen=True, slots=True)
class Written:
    """What a feed has now: images with their hashes, and the files that were written anew."""

    images: tuple[tuple[NamedImage, str], ...]
    changed: tuple[Path, ...]
    base: str


def write_feed(folder: Path, base: str | None = None) -> Written:
    """Write sums and transfer files for the images below a folder.

    `base` is the address at which the folder will be served; without it, the one in the transfer files that are there
    stays, and without those no transfer files are written: they hold the address. Raises Refused for images that do
    not stand in their extension's folder.
    """
    _check_places(folder)
    base = base.rstrip("/") if base else _known_base(folder)
    images: list[tuple[NamedImage, str]] = []
    files: dict[Path, str] = {folder / "noop.conf": NOOP_CONF}
    for place in _places(folder)[1:]:
        own = sorted((image for image in map(_own, place.glob("*.raw")) if image), key=_order)
        if not own:
            continue
        hashed = [(image, sha256_of(place / image.name)) for image in own]
        images += hashed
        files[place / SUMS] = _sums(hashed)
        files.update(_transfers(folder, place.name, own, base) if base else ())
    files[folder / SUMS] = _sums(images)
    changed = tuple(path for path, text in files.items() if _replace(path, text))
    return Written(tuple(images), changed, base)


def _own(path: Path) -> NamedImage | None:
    image = named(path.name)
    return image if image and image.extension == path.parent.name else None


def _check_places(folder: Path) -> None:
    """Images at the top, or in another extension's folder, would have no address."""
    wrong = [
        (path, image)
        for place in _places(folder)
        for path in sorted(place.glob("*.raw"))
        if (image := named(path.name)) is None or path.parent != folder / image.extension
    ]
    if not wrong:
        return
    path, image = wrong[0]
    if image is None:
        raise Refused(
            f"{path} has no name for a feed",
            why="images are named EXTENSION-VERSION-ARCH.raw, with x86-64 or arm64",
            next="rename it, or move it elsewhere",
        )
    check_name(image.extension)
    there = folder / image.extension
    raise Refused(
        f"{path} is not in its extension's folder",
        why=f"{len(wrong)} of the images are not; nodes look below BASE/{image.extension}/",
        next=f"mkdir -p {there} && mv {path.parent}/{image.extension}-*.raw {there}/",
    )


def _known_base(folder: Path) -> str:
    for place in _places(folder)[1:]:
        for path in sorted(place.glob("*.conf")):
            if found := _PATH.search(path.read_text(encoding="utf-8", errors="replace")):
                return found[1]
    return ""


def _transfers(
    folder: Path, extension: str, images: Iterable[NamedImage], base: str
) -> Iterator[tuple[Path, str]]:
    whole = extension_conf(extension, base)
    yield folder / f"{extension}.conf", whole
    yield folder / extension / f"{extension}.conf", whole
    if extension == EXTENSION:
        newest = {
            minor_of(image.version.partition("-")[0]): image.version.partition("-")[0] for image in images
        }
        for version in newest.values():
            yield folder / extension / transfer_name(version), transfer_conf(version, base)


def _sums(images: Iterable[tuple[NamedImage, str]]) -> str:
    return "".join(f"{sha256}  {image.name}\n" for image, sha256 in images)


def _replace(path: Path, text: str) -> bool:
    """Write a file whole, if it is not so already."""
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.chmod(0o644)
    beside.replace(path)
    return True
