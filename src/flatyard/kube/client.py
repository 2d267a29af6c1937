"""`kube.Api` over HTTP, for a real cluster's API and for the simulated one.

One httpx2 client per API. Refusals become ApiErrors by their Status object; no answer, and 5xx to a read,
becomes Unreachable. Nothing is repeated here: reflectors and reconcilers know when a repetition is safe.
"""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx2

from flatyard.kube.api import (
    AlreadyExists,
    ApiError,
    Conflict,
    EventType,
    Gone,
    Invalid,
    Json,
    Listing,
    NotFound,
    Object,
    Propagation,
    TooManyRequests,
    Unreachable,
    Verdict,
    WatchEvent,
)
from flatyard.kube.approval import with_verdict
from flatyard.kube.forward import Tunnel, forwarded
from flatyard.kube.resources import CERTIFICATE_SIGNING_REQUESTS, PODS, Resource
from flatyard.pki.keys import KeyPair

PAGE = 500
"""Objects per request of a list."""
SECONDS = 30.0
QUIET_SECONDS = 300.0
"""After how long without a sign of life (bookmarks come about every minute) a watch is opened anew."""
MERGE_PATCH = "application/merge-patch+json"
_KINDS: tuple[tuple[int, str, type[ApiError]], ...] = (
    (404, "", NotFound),
    (409, "AlreadyExists", AlreadyExists),
    (409, "", Conflict),
    (410, "", Gone),
    (400, "", Invalid),
    (422, "", Invalid),
)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API: its address, who vouches for it, and who we are.

    `authority` is the CA's certificate as PEM text; empty trusts what the machine trusts. Without a
    `client` certificate, `token` is sent.
    """

    server: str
    authority: str
    token: str = field(default="", repr=False)
    client: KeyPair | None = None

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority or None)
        if self.client is not None:
            _load(context, self.client)
        return context


def _load(context: ssl.SSLContext, client: KeyPair) -> None:
    """Give the context a client certificate; OpenSSL takes it only from a file, which is gone afterwards."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(client.certificate + client.key)
        file.flush()
        context.load_cert_chain(file.name)


def refusal(status: int, body: Json) -> ApiError:
    """The error that a Status object stands for."""
    message = str(body.get("message") or f"the API answered {status}")
    reason = str(body.get("reason") or "")
    details: Json = body.get("details") or {}
    if status == 429:
        return TooManyRequests(message, retry_after=details.get("retryAfterSeconds"), details=details)
    for code, wanted, kind in _KINDS:
        if status == code and wanted in ("", reason):
            return kind(message, status=status, reason=reason or None, details=details)
    return ApiError(message, status=status, reason=reason, details=details)


class HttpApi:
    """kube.Api over HTTP. Use it as an async context manager, or close it."""

    def __init__(self, access: Access, *, seconds: float = SECONDS, quiet: float = QUIET_SECONDS) -> None:
        headers = {"Accept": "application/json", "User-Agent": "flatyard"}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        self._quiet = quiet
        self._seconds = seconds
        self._client = httpx2.AsyncClient(
            base_url=access.server, headers=headers, verify=access.tls(), timeout=seconds, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        media: str = "application/json",
    ) -> Json:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": media}
        try:
            answer = await self._client.request(
                method, path, params=dict(query or {}), content=content, headers=headers
            )
        except httpx2.TransportError as error:
            raise _unreachable(error) from error
        found = _json(answer.content)
        if answer.status_code >= 400:
            raise _refused(method, answer.status_code, found)
        return found

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return Object(await self._ask("GET", resource.path(namespace, name)))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        query = {"limit": str(PAGE), **_selectors(labels, fields)}
        items: list[Object] = []
        while True:
            page = await self._ask("GET", resource.path(namespace), query=query)
            items += [_typed(resource, raw) for raw in page.get("items") or ()]
            token = page["metadata"].get("continue")
            if not token:
                return Listing(tuple(items), page["metadata"]["resourceVersion"])
            query = {**query, "continue": token}

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        version = resource_version
        while True:
            query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
            async for event in self._stream(
                resource.path(namespace), {**query, **_selectors(labels, fields)}
            ):
                version = event.object.resource_version
                yield event

    async def _stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[WatchEvent]:
        """Events until the server ends the answer or falls silent."""
        patience = httpx2.Timeout(self._seconds, read=self._quiet)
        try:
            async with self._client.stream("GET", path, params=dict(query), timeout=patience) as answer:
                if answer.status_code >= 400:
                    raise _refused("GET", answer.status_code, _json(await answer.aread()))
                async for line in answer.aiter_lines():
                    if line:
                        yield _event(json.loads(line))
        except httpx2.ReadTimeout:
            return
        except httpx2.TransportError as error:
            raise _unreachable(error) from error

    async def create(self, resource: Resource, object: Json) -> Object:
        body = _whole(resource, object)
        path = resource.path(str(body["metadata"].get("namespace", "")))
        return Object(await self._ask("POST", path, body=body))

    async def replace(self, resource: Resource, object: Json) -> Object:
        return await self._put(resource, object, "")

    async def replace_status(self, resource: Resource, object: Json) -> Object:
        return await self._put(resource, object, "/status")

    async def _put(self, resource: Resource, object: Json, part: str) -> Object:
        body = _whole(resource, object)
        metadata = body["metadata"]
        if not metadata.get("resourceVersion"):
            raise Invalid(
                "metadata.resourceVersion must be given: replacing needs to know what is replaced", status=400
            )
        path = resource.path(str(metadata.get("namespace", "")), str(metadata["name"]))
        return Object(await self._ask("PUT", path + part, body=body))

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Object:
        path = resource.path(namespace, name) + (f"/{subresource}" if subresource else "")
        return Object(await self._ask("PATCH", path, body=patch, media=MERGE_PATCH))

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = Propagation.BACKGROUND,
        grace_seconds: int | None = None,
    ) -> None:
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation.value}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._ask("DELETE", resource.path(namespace, name), body=options)

    async def evict(self, namespace: str, pod: str) -> None:
        metadata = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        await self._ask("POST", PODS.path(namespace, pod) + "/eviction", body=body)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        path = resource.path(namespace, name) + "/scale"
        await self._ask("PATCH", path, body={"spec": {"replicas": replicas}}, media=MERGE_PATCH)

    async def approve(self, request: Object, verdict: Verdict) -> Object:
        return await self._put(CERTIFICATE_SIGNING_REQUESTS, with_verdict(request, verdict), "/approval")

    def forward(
        self, namespace: str, pod: str, port: int, *, seconds: float
    ) -> AbstractAsyncContextManager[Tunnel]:
        """The tunnel to a pod's port: see kube.forward."""
        return forwarded(self._client, namespace, pod, port, seconds=seconds)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    both = {"labelSelector": labels, "fieldSelector": fields}
    return {name: text for name, text in both.items() if text}


def _whole(resource: Resource, object: Json) -> Json:
    """The object with its apiVersion and kind, and a namespace where the kind has one."""
    metadata = dict(object.get("metadata") or {})
    if resource.namespaced:
        metadata.setdefault("namespace", "default")
    return {**object, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _typed(resource: Resource, raw: Json) -> Object:
    """An element of a list, which need not say what it is."""
    return Object({"apiVersion": resource.api_version, "kind": resource.kind, **raw})


def _event(raw: Json) -> WatchEvent:
    if raw["type"] == "ERROR":
        raise refusal(int(raw["object"].get("code") or 500), raw["object"])
    return WatchEvent(EventType(raw["type"]), Object(raw["object"]))


def _json(content: bytes) -> Json:
    """The body as an object; a proxy's page, or nothing, becomes a message."""
    try:
        found = json.loads(content)
    except ValueError:
        return {"message": content.decode(errors="replace")[:200]}
    return found if isinstance(found, dict) else {}


def _refused(method: str, status: int, body: Json) -> ApiError:
    if status >= 500 and method == "GET":
        return Unreachable(str(body.get("message") or f"the API answered {status}"))
    if status == 404 and body.get("kind") != "Status":  # a kind whose definition was accepted a moment ago
        return Unreachable("the API does not serve this kind yet")
    return refusal(status, body)


def _unreachable(error: httpx2.TransportError) -> Unreachable:
    return Unreachable(f"the Kubernetes API did not answer: {str(error) or type(error).__name__}")
