"""Inline and local bytes as `data:` URLs."""

from __future__ import annotations

from flatyard.butane import source
from flatyard.butane.files import FilesDir, LocalFileError, read_local
from flatyard.butane.origins import Origins
from flatyard.ignition import dataurl
from flatyard.ignition.report import Entry, Path, error
from flatyard.ignition.types import Resource

_BARE = source.Resource()


class Resources:
    """Translates resources of one config; collects findings and where bytes came from."""

    def __init__(self, files: FilesDir | None, origins: Origins) -> None:
        self.files = files
        self.origins = origins
        self.found: list[Entry] = []

    def translate(self, written: source.Resource, at: Path, to: Path) -> Resource:
        """One resource; `at` is its YAML path, `to` its path in the generated config."""
        if written.inline is not None:
            self.origins.made[*to, "source"] = (*at, "inline")
            return embed(written.inline.encode("utf-8", "replace"), written)
        if written.local is not None:
            try:
                made = embed(read_local(self.files, written.local), written)
                self.origins.made[*to, "source"] = (*at, "local")
                return made
            except LocalFileError as problem:
                self.found.append(error(str(problem), (*at, "local")))
        return Resource(written.compression, written.http_headers, written.source, written.verification)

    def text(self, inline: str | None, local: str | None, at: Path, to: Path) -> str | None:
        """A unit's or drop-in's text, from a local file where one is named."""
        if not local:
            return inline
        try:
            data = read_local(self.files, local)
        except LocalFileError as problem:
            self.found.append(error(str(problem), (*at, "contents_local")))
            return inline
        self.origins.made[*to, "contents"] = (*at, "contents_local")
        return data.decode("utf-8", "replace")


def embed(data: bytes, resource: source.Resource | Resource) -> Resource:
    """Bytes put into a resource. Where the user names a compression, they are taken as compressed so;
    else the shortest form is chosen and said."""
    if resource.compression:
        url = dataurl.encode(data)
        return Resource(resource.compression, resource.http_headers, url, resource.verification)
    packed = dataurl.inline(data)
    if resource.verification is _BARE.verification and not resource.http_headers:
        return packed
    return Resource(packed.compression, resource.http_headers, packed.source, resource.verification)
