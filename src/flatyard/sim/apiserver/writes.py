"""Creating, changing, deleting, scaling and evicting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from starlette.responses import Response

from flatyard.kube import jsonpatch
from flatyard.kube.api import ApiError, Invalid, Json, NotFound, Object
from flatyard.kube.kinds import Kind, Scale
from flatyard.kube.memory import MemoryApi, scaled
from flatyard.kube.merge import clone, merge
from flatyard.kube.refusals import bad_request, not_found
from flatyard.kube.registry import Deletion
from flatyard.kube.resources import CERTIFICATE_SIGNING_REQUESTS, NAMESPACES, PODS
from flatyard.kube.selectors import from_object
from flatyard.kube.shelf import Key
from flatyard.pki import ADMIN, ADMIN_GROUP
from flatyard.sim.apiserver import answers, columns, printers, requests, strategic, tables, types
from flatyard.sim.apiserver.admission import Request, SchemaAdmission
from flatyard.sim.apiserver.answers import Printer, respond
from flatyard.sim.apiserver.negotiation import Shape, Wanted
from flatyard.sim.apiserver.reads import Reader
from flatyard.sim.apiserver.requests import Query, Target

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCHES = ("application/apply-patch+yaml", "application/apply-patch+cbor")
Change = Callable[[Json], Json]


@dataclass(frozen=True, slots=True)
class Call:
    """One writing request."""

    target: Target
    wanted: Wanted
    query: Query
    body: bytes
    content_type: str

    @property
    def key(self) -> Key:
        return self.target.namespace, self.target.name

    @property
    def kind(self) -> Kind:
        return self.target.kind


class Writer:
    """Carries out writes on an in-memory API whose admission is a SchemaAdmission."""

    def __init__(self, api: MemoryApi, reader: Reader) -> None:
        admission = api.registry.admission
        if not isinstance(admission, SchemaAdmission):
            raise TypeError("an API that is served needs a SchemaAdmission: see cluster.make_api")
        self._api = api
        self._admission = admission
        self._reader = reader

    # ---- create

    async def create(self, call: Call) -> Response:
        if call.target.name:
            raise requests.method_not_allowed()
        self._printer(call)
        dry_run = requests.dry_run(call.query, "CreateOptions")
        request = self._request(call, "CreateOptions")
        raw = self._decoded(call, request)
        if call.kind.resource == CERTIFICATE_SIGNING_REQUESTS:
            raw["spec"] = _asked_by_the_administrator(raw.get("spec"))
        object = await self._carry_out(
            request, lambda: self._api.registry.create(call.kind, raw, dry_run=dry_run)
        )
        return self._answer(call, object, request, 201)

    def _request(self, call: Call, options: str, *, patch: bool = False) -> Request:
        return Request(requests.field_validation(call.query, options), patch)

    def _printer(self, call: Call) -> Printer:
        return self._reader.printer(call.target, call.wanted, call.query)

    async def _carry_out(self, request: Request, operation: Callable[[], Object]) -> Object:
        return await self._api.write(lambda: self._admission.during(request, operation))

    def _answer(self, call: Call, object: Object, request: Request, code: int = 200) -> Response:
        answer = respond(self._printer(call).one(object), code=code, media=call.wanted.media)
        for warning in request.warnings:
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            answer.headers.append("Warning", f'299 - "{quoted}"')
        return answer

    def _decoded(self, call: Call, request: Request) -> Json:
        """The object in the body, checked against the path."""
        kind = call.kind
        raw, request.duplicates = requests.decode(call.body, call.content_type, kind.resource.kind)
        _check_kind(kind, raw, call.body)
        metadata = raw.setdefault("metadata", {})
        if kind.resource.namespaced:
            sent = metadata.get("namespace")
            if sent and sent != call.target.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = call.target.namespace
        name = metadata.get("name", "")
        if call.target.name and name != call.target.name:
            why = f"the name of the object ({name}) does not match the name on the URL ({call.target.name})"
            raise bad_request(why)
        return raw

    # ---- replace and patch

    async def replace(self, call: Call) -> Response:
        if not call.target.name:
            raise requests.method_not_allowed()
        dry_run = requests.dry_run(call.query, "UpdateOptions")
        request = self._request(call, "UpdateOptions")
        raw = self._decoded(call, request)
        part = call.target.subresource
        object = await self._carry_out(
            request, lambda: self._api.registry.replace(call.kind, raw, subresource=part, dry_run=dry_run)
        )
        return self._answer(call, object, request)

    async def patch(self, call: Call) -> Response:
        if not call.target.name:
            raise requests.method_not_allowed()
        dry_run = requests.dry_run(call.query, "PatchOptions")
        change = self._change(call)
        request = self._request(call, "PatchOptions", patch=True)
        part = call.target.subresource
        object = await self._carry_out(
            request,
            lambda: self._api.registry.patch(call.kind, call.key, change, subresource=part, dry_run=dry_run),
        )
        return self._answer(call, object, request)

    def _change(self, call: Call) -> Change:
        """What the patch does to an object."""
        match requests.media_type(call.content_type):
            case t if t == JSON_PATCH:
                operations = requests.json_patch_body(call.body)
                return lambda raw: jsonpatch.apply(raw, operations)
            case t if t == MERGE_PATCH:
                patch = requests.merge_patch_body(call.body)
                return lambda raw: merge(raw, clone(patch))
            case t if t == STRATEGIC_PATCH and not call.kind.custom:
                patch = requests.merge_patch_body(call.body)
                name = types.type_name(call.kind)
                return lambda raw: _named(strategic.apply(name, raw, clone(patch)), call.target.name)
            case media:
                raise _unknown_patch(call.kind, media)

    # ---- delete

    async def delete(self, call: Call) -> Response:
        options: Json = {}
        if call.body:
            options, _ = requests.decode(call.body, call.content_type, "DeleteOptions")
        how = requests.deletion(call.query, options)
        if not call.target.name:
            return await self._delete_all(call, how)
        object, gone = await self._api.write(lambda: self._api.registry.delete(call.kind, call.key, how))
        return self._deleted(call, object, gone)

    def _deleted(self, call: Call, object: Object, gone: bool) -> Response:
        if gone and not call.kind.shown_deleted:
            return respond(answers.success(call.kind, object.name, object.uid), media=call.wanted.media)
        return respond(self._printer(call).one(object), media=call.wanted.media)

    async def _delete_all(self, call: Call, how: Deletion) -> Response:
        if call.kind.resource == NAMESPACES:
            raise requests.method_not_allowed()
        scope = self._reader.scope(call.target, call.query)
        registry = self._api.registry

        def operation() -> list[Object]:
            found = list(self._api.storage.shelves[call.kind].select(scope))
            deleted = [registry.delete(call.kind, (o.namespace, o.name), how)[0] for o in found]
            return found if how.dry_run else deleted

        deleted = await self._api.write(operation)
        page = answers.Page(deleted, str(self._api.storage.version))
        return respond(self._printer(call).page(page), media=call.wanted.media)

    # ---- subresources

    async def finalize(self, call: Call) -> Response:
        """PUT namespaces/NAME/finalize: the one way to change a namespace's own finalizers."""
        request = self._request(call, "UpdateOptions")
        raw = self._decoded(call, request)
        object = await self._carry_out(request, lambda: self._api.registry.replace(call.kind, raw))
        return self._answer(call, object, request)

    async def evict(self, call: Call) -> Response:
        """POST pods/NAME/eviction."""
        if call.kind.resource != PODS:
            raise NotFound("the server could not find the requested resource")
        raw, _ = requests.decode(call.body, call.content_type, "Eviction")
        if (raw.get("metadata") or {}).get("name") != call.target.name:
            raise bad_request("name in URL does not match name in Eviction object")
        how = requests.deletion(call.query, raw.get("deleteOptions") or {})
        await self._api.evict_with(call.target.namespace, call.target.name, how)
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return respond(success, code=201)

    def get_scale(self, call: Call) -> Response:
        scale = _scale_of(call.kind, call.target.name)
        object = self._api.registry.get(call.kind, *call.key)
        return self._scale_answer(call, scale_object(object, scale))

    async def put_scale(self, call: Call) -> Response:
        """PUT scale: its resourceVersion is the object's."""
        scale = _scale_of(call.kind, call.target.name)
        raw, _ = requests.decode(call.body, call.content_type, "Scale")
        return await self._set_scale(call, scale, lambda _: raw)

    async def patch_scale(self, call: Call) -> Response:
        scale = _scale_of(call.kind, call.target.name)
        media = requests.media_type(call.content_type)
        if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH):
            raise _unknown_patch(call.kind, media)
        if media == JSON_PATCH:
            operations = requests.json_patch_body(call.body)
            return await self._set_scale(call, scale, lambda raw: jsonpatch.apply(raw, operations))
        patch = requests.merge_patch_body(call.body)
        return await self._set_scale(call, scale, lambda raw: merge(raw, patch))

    async def _set_scale(self, call: Call, scale: Scale, change: Change) -> Response:
        dry_run = requests.dry_run(call.query, "UpdateOptions")

        def through(raw: Json) -> Json:
            wanted = change(scale_object(Object(raw), scale))
            replicas = (wanted.get("spec") or {}).get("replicas", 0)
            changed = scaled(raw, scale, replicas)
            version = (wanted.get("metadata") or {}).get("resourceVersion")
            if version:
                changed["metadata"] = {**changed["metadata"], "resourceVersion": version}
            return changed

        object = await self._api.write(
            lambda: self._api.registry.patch(call.kind, call.key, through, dry_run=dry_run)
        )
        return self._scale_answer(call, scale_object(object, scale))

    def _scale_answer(self, call: Call, scale: Json) -> Response:
        if call.wanted.shape is not Shape.TABLE:
            return respond(scale, media=call.wanted.media)
        metadata = scale["metadata"]
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        row = {"cells": printers.scale_cells(scale, self._reader.now()), "object": partial}
        return respond({
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{call.wanted.version}",
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "columnDefinitions": [tables.definition(column) for column in columns.SCALE],
            "rows": [row],
        })  # fmt: skip


def scale_object(object: Object, scale: Scale) -> Json:
    """The Scale (autoscaling/v1) of an object."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Json = {"replicas": _at(object.raw, scale.status) or 0}
    selector = _at(object.raw, scale.selector) if scale.selector else None
    if selector:
        status["selector"] = selector if isinstance(selector, str) else _written(cast(Json, selector))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: object.metadata[key] for key in kept if key in object.metadata},
        "spec": {"replicas": _at(object.raw, scale.spec) or 0},
        "status": status,
    }


def _at(raw: object, path: tuple[str, ...]) -> object:
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    return raw


def _written(selector: Json) -> str:
    """A LabelSelector in the syntax of a query."""
    parts = []
    for requirement in from_object(selector).requirements:
        values = ",".join(sorted(requirement.values))
        plain = {"exists": requirement.key, "absent": f"!{requirement.key}"}
        several = f"{requirement.key} {requirement.operator} ({values})"
        single = f"{requirement.key}={values}"
        equal = requirement.operator == "in" and len(requirement.values) == 1
        parts.append(plain.get(requirement.operator, single if equal else several))
    return ",".join(sorted(parts))


def _asked_by_the_administrator(spec: object) -> object:
    """Who asks for a certificate is the server's finding; whoever has the bearer token is the administrator."""
    if not isinstance(spec, dict):
        return spec
    said = {key: value for key, value in spec.items() if key not in ("uid", "extra")}
    return {**said, "username": ADMIN, "groups": [ADMIN_GROUP, "system:authenticated"]}


def _scale_of(kind: Kind, name: str) -> Scale:
    if kind.scale is None:
        raise (
            not_found(kind, name)
            if kind.custom
            else NotFound("the server could not find the requested resource")
        )
    return kind.scale


def _named(raw: Json, name: str) -> Json:
    if not (raw.get("metadata") or {}).get("name"):
        why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise bad_request(why)
    return raw


def _unknown_patch(kind: Kind, media: str) -> ApiError:
    known = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, *APPLY_PATCHES)
    if media not in known and not kind.custom:
        return ApiError("415: Unsupported Media Type", status=415, reason="UnsupportedMediaType")
    accepted = [JSON_PATCH, MERGE_PATCH] if kind.custom else [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH]
    if media in APPLY_PATCHES:
        return requests.unsupported(accepted)
    return requests.unsupported([*accepted, APPLY_PATCHES[0]])


def _check_kind(kind: Kind, raw: Json, body: bytes) -> None:
    """Refuse a body of another kind; a built-in kind may leave its kind out."""
    resource = kind.resource
    sent_version, sent_kind = raw.get("apiVersion"), raw.get("kind")
    if kind.custom:
        _check_custom_kind(kind, raw, body)
        return
    if sent_kind and sent_kind != resource.kind:
        why = (
            f'{sent_kind} in version "{sent_version}" cannot be handled as a {resource.kind}: converting '
            f"({_go_version(str(sent_version))}.{sent_kind}) to ({_go_group(resource.group)}.{resource.kind}): "
            "unknown conversion"
        )
        raise bad_request(why)
    if sent_version and sent_version != resource.api_version:
        why = (
            f'{resource.kind} in version "{sent_version}" cannot be handled as a {resource.kind}: no kind '
            f'"{resource.kind}" is registered for version "{sent_version}" in scheme '
            '"pkg/runtime/scheme.go:110"'
        )
        raise bad_request(why)


def _go_version(api_version: str) -> str:
    return api_version.rpartition("/")[2]


def _go_group(group: str) -> str:
    return group.partition(".")[0] or "core"


def _check_custom_kind(kind: Kind, raw: Json, body: bytes) -> None:
    resource = kind.resource
    sent = raw.get("kind")
    text = body.decode()
    if not sent:
        short = text if len(text) <= 30 else f"{text[:30]} ..."
        why = f"Object 'Kind' is missing in '{text}' ({short})"
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): {why}")
    if sent != resource.kind or raw.get("apiVersion") != resource.api_version:
        raise _other_kind(kind, raw)


def _other_kind(kind: Kind, raw: Json) -> Invalid:
    resource = kind.resource
    sent, name = raw.get("kind"), (raw.get("metadata") or {}).get("name", "")
    field, value, wanted = "kind", sent, resource.kind
    if sent == resource.kind:
        field, value, wanted = "apiVersion", raw.get("apiVersion"), resource.api_version
    why = f'Invalid value: "{value}": must be {wanted}'
    details: Json = {
        "name": name,
        "group": resource.group,
        "kind": sent,
        "causes": [{"reason": "FieldValueInvalid", "message": why, "field": field}],
    }
    return Invalid(f'{sent}.{resource.group} "{name}" is invalid: {field}: {why}', details=details)
