"""`systemd.quadlets` (1.2.0-experimental): Podman quadlets as files below /etc/containers/systemd."""

from __future__ import annotations

from flatyard.butane import source
from flatyard.butane.files import FilesDir, LocalFileError, read_local
from flatyard.butane.nodes import NODE_EXISTS, Nodes
from flatyard.butane.origins import Origins
from flatyard.butane.resources import embed
from flatyard.ignition.report import Entry, Path, error
from flatyard.ignition.types import Config, File, Link, Resource

_ROOTFUL, _ROOTLESS = "/etc/containers/systemd", "/etc/containers/systemd/users"
_EXTENSIONS = (".container", ".volume", ".network", ".kube", ".image", ".build", ".pod", ".artifact")


def extension_problem(name: str) -> str | None:
    """What is wrong with a quadlet's name."""
    if name.endswith(_EXTENSIONS):
        return None
    *most, last = _EXTENSIONS
    return f"unsupported file extension for quadlet: must be one of {', '.join(most)}, or {last}"


def template_of(name: str) -> str | None:
    """`foo@100.container` → `foo@.container`; None for what is no instance."""
    at, dot = name.find("@"), name.rfind(".")
    if at < 0 or dot < 0 or at + 1 == dot:
        return None
    return f"{name[:at]}@{name[dot:]}"


def add_quadlets(
    config: Config, quadlets: tuple[source.Quadlet, ...], files: FilesDir | None, origins: Origins
) -> tuple[Config, tuple[Entry, ...]]:
    """The config with the quadlets' files and links; findings by YAML path."""
    writer = _Writer(Nodes(config), files, origins)
    for index, quadlet in enumerate(quadlets):
        writer.quadlet(quadlet, ("systemd", "quadlets", index))
    return writer.nodes.into(config), tuple(writer.found)


class _Writer:
    def __init__(self, nodes: Nodes, files: FilesDir | None, origins: Origins) -> None:
        self.nodes = nodes
        self.files = files
        self.origins = origins
        self.found: list[Entry] = []

    def quadlet(self, quadlet: source.Quadlet, at: Path) -> None:
        place = f"{_ROOTFUL if quadlet.rootful else _ROOTLESS}/{quadlet.name}"
        template = template_of(quadlet.name)
        if template:
            self.link(place, template, at)
        else:
            self.file(place, quadlet, at)
        for index, dropin in enumerate(quadlet.dropins):
            self.file(f"{place}.d/{dropin.name}", dropin, (*at, "dropins", index))

    def link(self, place: str, target: str, at: Path) -> None:
        if self.nodes.is_taken(place):
            self.found.append(error(NODE_EXISTS, at))
            return
        index = self.nodes.add_link(Link(path=place, target=target))
        self.origins.made["storage", "links", index] = at
        self.origins.made["storage", "links", index, "path"] = (*at, "name")

    def file(self, place: str, entry: source.Quadlet | source.Dropin, at: Path) -> None:
        if self.nodes.is_taken(place):
            self.found.append(error(NODE_EXISTS, at))
            return
        index = self.nodes.add_file(File(path=place))
        self.origins.made["storage", "files", index] = at
        self.origins.made["storage", "files", index, "path"] = (*at, "name")
        try:
            data = read_local(self.files, entry.contents_local) if entry.contents_local else b""
        except LocalFileError as problem:
            self.found.append(error(str(problem), (*at, "contents_local")))
            return
        if entry.contents:
            data = entry.contents.encode("utf-8", "replace")
        self.nodes.fill(index, embed(data, Resource()), 0o644)
