"""The ASGI application: from a request's path and method to reads, writes and what stands beside them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flatyard.kube.api import ApiError, Gone, Json, NotFound
from flatyard.kube.kinds import Kind
from flatyard.kube.memory import MemoryApi
from flatyard.kube.refusals import bad_request, not_found
from flatyard.kube.resources import NAMESPACES, PODS
from flatyard.sim.apiserver import discovery, openapi, requests
from flatyard.sim.apiserver.answers import refuse, respond
from flatyard.sim.apiserver.negotiation import choose, parse
from flatyard.sim.apiserver.reads import Reader
from flatyard.sim.apiserver.requests import NoSuchPath, Query, Target
from flatyard.sim.apiserver.writes import Call, Writer

NOT_SIMULATED = {
    "log": "logs are not simulated: no container runs on a simulated machine",
    "exec": "commands are not simulated: no container runs on a simulated machine",
    "attach": "attaching is not simulated: no container runs on a simulated machine",
    "portforward": "forwarding is not simulated: no container runs on a simulated machine",
    "proxy": "proxying is not simulated: nothing listens on a simulated machine",
    "token": "tokens are not simulated: this API knows one bearer token",
    "binding": "binding is left to the simulation: set spec.nodeName when the pod is created",
    "ephemeralcontainers": "ephemeral containers are not simulated: no container runs on a simulated machine",
    "resize": "resizing is not simulated: no container runs on a simulated machine",
}
_HEALTH = ("/healthz", "/livez", "/readyz")


class ApiServer:
    """Serves a MemoryApi that `cluster.make_api` made.

    `token` is the one bearer token that is let in; empty lets everybody in. `version` is the Kubernetes
    version that the server claims (`v1.34.3`). `wall` turns the seconds of clients, which are the wall
    clock's, into the event loop's.
    """

    def __init__(
        self,
        api: MemoryApi,
        *,
        token: str = "",
        version: str = "v1.34.3",
        wall: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._api = api
        self._token = token
        self._version = version
        self._reader = Reader(api, api.registry.world.now, wall)
        self._writer = Writer(api, self._reader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> ASGIApp:
        try:
            self._authenticate(request)
            return await self._route(request)
        except NoSuchPath:
            return PlainTextResponse("404 page not found\n", 404, {"Cache-Control": "no-cache, private"})
        except Gone as gone:
            return refuse(gone)
        except ApiError as error:
            return refuse(error)

    def _authenticate(self, request: Request) -> None:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self._token and not hmac.compare_digest(sent.encode(), self._token.encode()):
            raise ApiError("Unauthorized", status=401, reason="Unauthorized")

    async def _route(self, request: Request) -> ASGIApp:
        path = request.url.path.rstrip("/") or "/"
        if path in _HEALTH or path.startswith(tuple(f"{root}/" for root in _HEALTH)):
            return PlainTextResponse(
                "ok" if "verbose" not in request.query_params else f"{path[1:]} check passed\n"
            )
        fixed = self._fixed(request, path)
        return fixed if fixed is not None else await self._resource(request, path)

    # ---- what is not about objects

    @property
    def _kinds(self) -> Iterable[Kind]:
        return tuple(self._api.storage.kinds.values())

    def _fixed(self, request: Request, path: str) -> Response | None:
        parts = path.strip("/").split("/")
        match parts:
            case [""]:
                return respond({"paths": self._paths()})
            case ["version"]:
                return respond(self._version_info())
            case ["openapi", "v3", *rest]:
                return self._openapi(request, "/".join(rest))
            case ["openapi", "v2"]:
                why = "OpenAPI v2 is not served here: ask for /openapi/v3"
                raise NotFound(why)
            case ["api"] | ["apis"]:
                return self._groups(request, core=parts == ["api"])
            case ["apis", group]:
                return self._group(group)
            case ["api", version]:
                return self._resources("", version)
            case ["apis", group, version]:
                return self._resources(group, version)
            case _:
                return None

    def _paths(self) -> list[str]:
        found = {"/api", "/api/v1", "/apis", "/openapi/v3", "/version", *_HEALTH}
        for group, version in discovery.group_versions(self._kinds):
            if group:
                found |= {f"/apis/{group}", f"/apis/{group}/{version}"}
        return sorted(found)

    def _version_info(self) -> Json:
        major, minor = self._version.removeprefix("v").split(".")[:2]
        return {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": self._version,
            "gitCommit": "0" * 40,
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none: simulated by flatyard",
            "compiler": "none",
            "platform": "linux/amd64",
        }

    def _groups(self, request: Request, *, core: bool) -> Response:
        for media, parameters in parse(request.headers.get("Accept", "")):
            version = parameters.get("v", "")
            if parameters.get("as") == "APIGroupDiscoveryList" and version in ("v2", "v2beta1"):
                body = discovery.aggregated(self._kinds, core=core, version=version)
                return _cached(request, body, discovery.AGGREGATED.format(version=version))
            if media in ("application/json", "*/*") and not parameters.get("as"):
                break
        if core:
            return respond(discovery.core_versions(request.url.netloc))
        return respond(discovery.group_list(self._kinds))

    def _group(self, group: str) -> Response:
        versions = [v for g, v in discovery.group_versions(self._kinds) if g == group]
        if not versions:
            raise NoSuchPath(group)
        return respond(discovery.group(group, versions))

    def _resources(self, group: str, version: str) -> Response:
        kinds = discovery.group_versions(self._kinds).get((group, version))
        if kinds is None:
            raise NoSuchPath(group)
        return respond(discovery.resource_list(group, version, kinds))

    def _openapi(self, request: Request, name: str) -> Response:
        documents = openapi.paths(self._kinds)
        if not name:
            body = {"paths": {path: {"serverRelativeURL": url} for path, url in documents.items()}}
            return respond(body, headers={"Content-Type": "text/plain; charset=utf-8"})
        if name not in documents:
            raise NoSuchPath(name)
        _, group, version = ("", *name.split("/"))[-3:]
        group = "" if name.startswith("api/") else group
        kinds = discovery.group_versions(self._kinds)[group, version]
        return _cached(request, openapi.document(kinds), "application/json", "public, immutable")

    # ---- objects

    async def _resource(self, request: Request, path: str) -> ASGIApp:
        target = requests.locate(self._kinds, path)
        wanted = choose(request.headers.get("Accept", ""))
        query = Query(parse_qsl(request.url.query, keep_blank_values=True))
        body = await request.body()
        call = Call(target, wanted, query, body, request.headers.get("Content-Type", ""))
        if target.subresource:
            return await self._subresource(request.method, call)
        match request.method:
            case "GET":
                return await self._read(call)
            case "POST":
                return await self._writer.create(call)
            case "PUT":
                return await self._writer.replace(call)
            case "PATCH":
                return await self._writer.patch(call)
            case "DELETE":
                return await self._writer.delete(call)
            case _:
                raise requests.method_not_allowed()

    async def _read(self, call: Call) -> ASGIApp:
        await self._api.durable()
        target, query = call.target, call.query
        if target.watch or query.flag("watch"):
            return self._reader.watch(target, call.wanted, query)
        if target.name:
            return self._reader.get(target, call.wanted, query)
        return self._reader.list(target, call.wanted, query)

    async def _subresource(self, method: str, call: Call) -> ASGIApp:
        target = call.target
        served = {sub.name: sub for sub in discovery.subresources(target.kind)}
        if target.subresource not in served:
            raise self._no_subresource(target)
        match target.subresource:
            case "status" | "approval":
                return await self._status(method, call)
            case "scale":
                return await self._scale(method, call)
            case "eviction" if method == "POST":
                return await self._writer.evict(call)
            case "finalize" if method == "PUT":
                return await self._writer.finalize(call)
            case _:
                raise requests.method_not_allowed()

    async def _status(self, method: str, call: Call) -> ASGIApp:
        match method:
            case "GET":
                return await self._read(call)
            case "PUT":
                return await self._writer.replace(call)
            case "PATCH":
                return await self._writer.patch(call)
            case _:
                raise _unsupported_verb(method, call.kind)

    async def _scale(self, method: str, call: Call) -> Response:
        match method:
            case "GET":
                return self._writer.get_scale(call)
            case "PUT":
                return await self._writer.put_scale(call)
            case "PATCH":
                return await self._writer.patch_scale(call)
            case _:
                raise _unsupported_verb(method, call.kind)

    def _no_subresource(self, target: Target) -> ApiError:
        if target.kind.custom:
            return not_found(target.kind, target.name)
        sentence = NOT_SIMULATED.get(target.subresource)
        if sentence is None:
            return NotFound("the server could not find the requested resource")
        if target.kind.resource in (PODS, NAMESPACES):
            self._api.registry.get(target.kind, target.namespace, target.name)
        return bad_request(sentence)


def _unsupported_verb(method: str, kind: Kind) -> ApiError:
    if not kind.custom:
        return requests.method_not_allowed()
    resource = kind.resource
    verb = {"POST": "create"}.get(method, method.lower())
    details = {"group": resource.group, "kind": resource.plural}
    why = f'{verb} is not supported on resources of kind "{resource.qualified}"'
    return ApiError(why, status=405, reason="MethodNotAllowed", details=details)


def _cached(request: Request, body: Json, media: str, caching: str = "public") -> Response:
    """An answer that clients keep: it has an ETag, and a client that has it already gets a 304."""
    answer = respond(body, headers={"Content-Type": media, "Cache-Control": caching, "Vary": "Accept"})
    tag = f'"{openapi.digest(bytes(answer.body))}"'
    answer.headers["ETag"] = tag
    if request.headers.get("If-None-Match") == tag:
        headers = {"Cache-Control": caching, "ETag": tag, "Vary": "Accept"}
        return Response(None, 304, headers)
    return answer
