"""What a client wants to get: JSON or YAML, whole objects, tables or only metadata.

Source: the Kubernetes documentation, "Kubernetes API Concepts".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flatyard.kube.api import ApiError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


class Shape(StrEnum):
    """In which form objects are answered."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The first form in the Accept header that can be served."""

    media: str = JSON
    shape: Shape = Shape.OBJECT
    version: str = "v1"


def parse(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Media types with their parameters, in the client's order."""
    found = []
    for part in accept.split(","):
        media, *parameters = [piece.strip() for piece in part.split(";")]
        if media:
            found.append((media, dict(_pair(p) for p in parameters)))
    return found


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def choose(accept: str) -> Wanted:
    """What to answer with; raises ApiError (406) when nothing fits."""
    media_types = parse(accept)
    if not media_types:
        return Wanted()
    for media, parameters in media_types:
        wanted = _servable(media, parameters)
        if wanted is not None:
            return wanted
    raise _unacceptable(media_types)


def _servable(media: str, parameters: dict[str, str]) -> Wanted | None:
    if media in ("*/*", "application/*"):
        media = JSON
    if media not in (JSON, YAML):
        return None
    name = parameters.get("as", "")
    if not name:
        return Wanted(media)
    if name not in tuple(Shape) or parameters.get("g") != "meta.k8s.io":
        return None
    version = parameters.get("v", "")
    return Wanted(media, Shape(name), version) if version in ("v1", "v1beta1") else None


def _unacceptable(media_types: list[tuple[str, dict[str, str]]]) -> ApiError:
    known = any(media in (JSON, YAML, PROTOBUF) for media, _ in media_types)
    if known:
        why = f"only the following media types are accepted: {JSON}, {YAML}, {PROTOBUF}"
    else:
        representations = (JSON, YAML, PROTOBUF, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
        why = f"406: Not Acceptable\n\nAvailable representations: {', '.join(representations)}"
    return ApiError(why, status=406, reason="NotAcceptable")
