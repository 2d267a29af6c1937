"""Answers: Status objects, objects, lists and tables in the form that the client wants."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import yaml
from starlette.responses import Response

from flatyard.kube.api import ApiError, Json, Object
from flatyard.kube.kinds import Kind
from flatyard.kube.refusals import bad_request, named
from flatyard.sim.apiserver import tables
from flatyard.sim.apiserver.defaults import TEMPLATE_GENERATION
from flatyard.sim.apiserver.negotiation import YAML, Shape, Wanted

_GENERIC = re.compile(r"the server |\d{3}: ")
"""Refusals that no handler made; they carry details, though empty ones."""


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or the part of it that one answer holds."""

    items: Sequence[Object]
    resource_version: str
    token: str = ""
    remaining: int | None = None


def status(error: ApiError, metadata: Json | None = None) -> Json:
    """The Status object for a refusal."""
    answer: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": metadata or {},
        "status": "Failure",
        "message": error.what,
    }
    if error.reason and error.status != 500:
        answer["reason"] = error.reason
    if error.details or _GENERIC.match(error.what):
        answer["details"] = error.details
    return {**answer, "code": error.status}


def _without_internal(metadata: Json) -> Json:
    """A table's rows leave out the one annotation that stands for a field of another version."""
    annotations = metadata.get("annotations") or {}
    if TEMPLATE_GENERATION not in annotations:
        return metadata
    kept = {key: value for key, value in annotations.items() if key != TEMPLATE_GENERATION}
    without = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**without, "annotations": kept} if kept else without


def success(kind: Kind, name: str, uid: str) -> Json:
    """The Status object that says that an object is gone."""
    resource = kind.resource
    details = named(name, resource.group, resource.plural)
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def respond(
    body: Json, *, code: int = 200, headers: Mapping[str, str] | None = None, media: str = "application/json"
) -> Response:
    """A body as JSON, or as YAML."""
    content = yaml.safe_dump(body, sort_keys=True).encode() if media == YAML else encode(body)
    # A Content-Type header of the caller's own wins; "Cache-Control" is what the real server says everywhere.
    fixed = {"Content-Type": media, "Cache-Control": "no-cache, private"}
    return Response(content, code, {**fixed, **(headers or {})})


def encode(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def refuse(error: ApiError, metadata: Json | None = None) -> Response:
    """The answer to a request that is refused."""
    seconds = error.details.get("retryAfterSeconds")
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return respond(status(error, metadata), code=error.status, headers=headers)


class Printer:
    """Turns objects of one kind into what one client wants to get."""

    def __init__(self, kind: Kind, wanted: Wanted, include: str, now: datetime) -> None:
        if include not in ("", "None", "Metadata", "Object") and wanted.shape is Shape.TABLE:
            why = (
                f"includeObject: Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty"
            )
            raise bad_request(f"Unable to convert to Table as requested: {why}")
        self._kind = kind
        self._wanted = wanted
        self._include = include
        self._now = now

    def one(self, object: Object) -> Json:
        """The answer for one object."""
        match self._wanted.shape:
            case Shape.TABLE:
                return self._table([object], {"resourceVersion": object.resource_version})
            case Shape.METADATA | Shape.METADATA_LIST:
                return self._metadata(object)
            case _:
                return object.raw

    def page(self, page: Page) -> Json:
        """The answer for a list."""
        metadata: Json = {"resourceVersion": page.resource_version}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        match self._wanted.shape:
            case Shape.TABLE:
                return self._table(page.items, metadata)
            case Shape.METADATA | Shape.METADATA_LIST:
                return self._metadata_list(page, metadata)
            case _:
                return self._list(page, metadata)

    def _list(self, page: Page, metadata: Json) -> Json:
        kind = self._kind
        if kind.custom:
            items = [item.raw for item in page.items]
            metadata.setdefault("continue", "")
        else:
            items = [{k: v for k, v in i.raw.items() if k not in ("apiVersion", "kind")} for i in page.items]
        return {
            "kind": kind.list_kind,
            "apiVersion": kind.resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def _metadata(self, object: Object) -> Json:
        version = f"meta.k8s.io/{self._wanted.version}"
        metadata = (
            _without_internal(object.metadata) if self._wanted.shape is Shape.TABLE else object.metadata
        )
        return {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": metadata}

    def _metadata_list(self, page: Page, metadata: Json) -> Json:
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{self._wanted.version}",
            "metadata": metadata,
            "items": [self._metadata(item) for item in page.items],
        }

    def _table(self, items: Sequence[Object], metadata: Json, *, head: bool = True) -> Json:
        columns = [tables.definition(column) for column in tables.columns(self._kind)] if head else None
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self._wanted.version}",
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": [self._row(item) for item in items],
        }

    def _row(self, item: Object) -> Json:
        row: Json = {"cells": tables.cells(self._kind, item, self._now)}
        match self._include:
            case "Object":
                row["object"] = item.raw
            case "None":
                row["object"] = None
            case _:
                row["object"] = self._metadata(item)
        return row

    def event(self, object: Object, *, first: bool, now: datetime) -> Json:
        """The object of a watch event; a table's columns are sent once."""
        self._now = now
        if self._wanted.shape is Shape.TABLE:
            return self._table([object], {"resourceVersion": object.resource_version}, head=first)
        return self.one(object)
