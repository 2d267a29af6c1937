"""One request, answered: who asks, whether they may, what they want, and what becomes of it."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from . import actions, balancers, compute, images, models, network, policies, services, tokens
from .access import Access
from .blobs import Accounts
from .errors import ArmError, invalid, not_found
from .faults import Faults
from .groups import Groups
from .ids import Path, parse
from .kinds import KINDS, Kind
from .market import Market
from .operations import async_headers, find_operation
from .routes import SPECIAL, Answer, Request
from .world import Body, Operation, Resource, World, where

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(-preview)?")
_ = (actions, balancers, images)  # imported for what they register


class Arm:
    """The emulator's whole state, and its answers."""

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        self.accounts = Accounts(folder)
        self.access = Access({})
        self.reset()

    def reset(self) -> None:
        self.accounts.clear()
        self.world = World()
        self.world.accounts = self.accounts
        self.clients: dict[str, Body] = {
            tokens.CLIENT: {"secret": tokens.SECRET, "federated": tokens.FEDERATED},
            tokens.MANAGED: {},
        }
        self.market = Market()
        self.world.market = self.market
        self.access = Access(self.access.tokens)
        self.faults = Faults()
        self.groups = Groups(self.world)
        self.page = 250
        self.calls: list[dict[str, object]] = []
        self.unregistered: set[str] = set()
        self.policies: set[str] = set()

    # ---- the way in
    def answer(self, request: Request) -> Answer:
        self.world.advance()
        try:
            answer = self._answer(request)
        except ArmError as problem:
            answer = Answer(problem.status, {"error": problem.body()}, dict(problem.headers))
        self.world.fails_next = None
        self.calls.append({"method": request.method, "path": request.path, "status": answer.status})
        answer.headers |= self.faults.remaining()
        return answer

    def _answer(self, request: Request) -> Answer:
        request.principal = self.access.principal(request.headers)
        self._version(request)
        operation = find_operation(self.world, request)
        if operation is not None:
            return operation
        self.faults.count(request, self.world)
        lost = self.faults.apply(request, self.world)
        if lost == "before":
            return Answer(0, lost=True)
        answer = self._route(request)
        answer.lost = lost == "after"
        return answer

    def _version(self, request: Request) -> None:
        version = request.query.get("api-version")
        if version is None:
            raise invalid(
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not VERSION.fullmatch(version):
            raise invalid("InvalidApiVersionParameter", f"The api-version '{version}' is invalid.")
        words = request.path.strip("/").split("/")
        if len(words) > 1 and words[0].lower() == "subscriptions" and words[1] != SUBSCRIPTION:
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{words[1]}' could not be found.")

    def _route(self, request: Request) -> Answer:
        for method, pattern, action, call in SPECIAL:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                self.access.allow(request.principal, action, request.path)
                return call(self, request, match)
        path = parse(request.path)
        if not path.kind:
            raise ArmError(404, "NotFound", f"{request.path} names nothing.")
        self._allowed(request, path)
        return self._resource(request, path)

    def _allowed(self, request: Request, path: Path) -> None:
        verb = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
        if request.method == "POST":
            action, scope = f"{path.kind}/action", path.raw.rsplit("/", 1)[0]
        else:
            action, scope = f"{path.kind}/{verb[request.method]}", path.raw
        self.access.allow(request.principal, action, scope)

    def _resource(self, request: Request, path: Path) -> Answer:
        if request.method == "POST":
            raise ArmError(404, "NotFound", f"{request.path} is no action that this emulator knows.")
        kind = KINDS.get(path.kind.lower())
        outer = None if kind else self._outer(path)
        if kind is None and outer is None:
            raise unknown(path)
        if path.collection:
            if request.method != "GET":
                raise ArmError(405, "MethodNotAllowed", f"{request.method} is not for a collection.")
            return self.listing(request, path, kind, outer)
        if outer is not None:
            return self._part(request, path, outer)
        assert kind is not None
        if request.method in ("GET", "HEAD"):
            return self._get(request, path)
        self.groups.ready(path)
        self._registered(request, path)
        call = {"PUT": self._put, "PATCH": self._patch, "DELETE": self._delete}[request.method]
        return call(request, path, kind)

    def _registered(self, request: Request, path: Path) -> None:
        namespace = path.kind.split("/")[0]
        if request.method == "PUT" and namespace.lower() in self.unregistered:
            raise ArmError(
                409,
                "MissingSubscriptionRegistration",
                f"The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found "
                "for how to register subscriptions.",
                target=namespace,
            )

    def _outer(self, path: Path) -> Kind | None:
        """The kind whose inline part this is."""
        above, _, word = path.kind.rpartition("/")
        found = KINDS.get(above.lower())
        return found if found and word.lower() in map(str.lower, found.parts) else None

    # ---- reading
    def find(self, path: Path) -> Resource:
        found = self.world.find(path.raw)
        if found is None:
            if path.group:
                self.groups.exists(path)
            raise not_found("/".join(path.names), path.group, path.kind)
        return found

    def _get(self, request: Request, path: Path) -> Answer:
        found = self.find(path)
        body = self.view(found)
        expand = request.query.get("$expand", "").lower()
        if found.kind == compute.VM:
            if "instanceview" in expand:
                body["properties"]["instanceView"] = compute.instance_view(self.world, found)
            if "userdata" in expand and found.properties.get("userData"):
                body["properties"]["userData"] = found.properties["userData"]
        return Answer(204 if request.method == "HEAD" else 200, body, {"ETag": f'W/"{found.etag}"'})

    def view(self, resource: Resource) -> Body:
        """As GET shows it."""
        kind = KINDS[resource.kind.lower()]
        body: Body = json.loads(json.dumps(resource.body))
        body |= {"id": resource.id, "name": resource.name, "type": resource.kind}
        properties = body.setdefault("properties", {})
        state = resource.state
        if resource.kind.startswith("Microsoft.Network") and state == "Creating":
            state = "Updating"
        properties["provisioningState"] = state
        if "etag" in models.shape_of(models.load(kind.model)):
            body["etag"] = f'W/"{resource.etag}"'
        for word in kind.parts:
            for item in properties.get(word) or []:
                item |= {"type": f"{resource.kind}/{word}", "etag": f'W/"{resource.etag}"'}
                item.setdefault("properties", {})["provisioningState"] = state
        kind.view(self.world, resource, body)
        return body

    def listing(self, request: Request, path: Path, kind: Kind | None, outer: Kind | None) -> Answer:
        if path.group:
            self.groups.exists(path)
        if outer is not None:
            above = self.find(parse(path.parent))
            word = next(w for w in outer.parts if w.lower() == path.kind.rsplit("/", 1)[1].lower())
            return self.pages(request, self.view(above)["properties"].get(word) or [])
        assert kind is not None
        found = [r for r in self.world.of_kind(kind.name, path.parent) if self.listed(r)]
        found = services.assigned(found, request.query.get("$filter", ""))
        if kind.name == compute.VM:
            return self.pages(request, found, lambda vm: self._machine(request, vm))
        return self.pages(request, found, self.view)

    def _machine(self, request: Request, vm: Resource) -> Body:
        body = self.view(vm)
        wanted = request.query.get("$expand", "").lower(), request.query.get("statusOnly", "").lower()
        if "instanceview" in wanted[0] or wanted[1] == "true":
            body["properties"]["instanceView"] = compute.instance_view(self.world, vm)
        return body

    def listed(self, resource: Resource) -> bool:
        return resource.created <= self.world.now() - self.world.lag

    def pages(
        self, request: Request, items: list[Any], view: Callable[[Any], Any] = lambda item: item
    ) -> Answer:
        """One page, and where the next one is (rules: paging)."""
        at = int(request.query.get("$skiptoken") or 0)
        size = min(int(request.query.get("$top") or self.page), self.page)
        body: Body = {"value": [view(item) for item in items[at : at + size]]}
        if at + size < len(items):
            query = {**request.query, "$skiptoken": str(at + size)}
            body["nextLink"] = f"{request.base}{quote(request.path)}?{urlencode(query)}"
        return Answer(200, body)

    # ---- writing
    def _put(self, request: Request, path: Path, kind: Kind) -> Answer:
        body = request.json()
        models.check(kind.model, body)
        old = self.world.find(path.raw)
        self.match(request, old)
        if kind.tracked:
            self.groups.tracked(path, body, old)
        elif (
            len(path.names) > 1 and self.world.find(path.parent.removesuffix("/blobServices/default")) is None
        ):
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform '{request.method}' on resource(s) of type '{path.kind}', because the parent "
                f"resource '{path.parent}' could not be found.",
            )
        if old is not None and old.busy:
            return self._again(request, kind, old, body)
        raw = old.id if old else canonical(path, kind)
        new = Resource(raw, kind.name, body, old.created if old else self.world.now())
        new.hidden["wrote"] = json.dumps(body, sort_keys=True)
        return self.write(request, kind, new, old)

    def _again(self, request: Request, kind: Kind, old: Resource, body: Body) -> Answer:
        """A PUT while another operation is under way (rules: another-operation)."""
        if old.state == "Deleting":
            raise going(old)
        if kind.name == compute.VM and json.dumps(body, sort_keys=True) == old.hidden["wrote"]:
            assert old.operation is not None
            return Answer(200, self.view(old), async_headers(self.world, request, old.operation))
        raise busy(old)

    def write(self, request: Request, kind: Kind, new: Resource, old: Resource | None) -> Answer:
        """Check it, put it in place, start its operation, and answer."""
        for word in kind.parts:
            for item in new.properties.get(word) or []:
                item["id"] = f"{new.id}/{word}/{item.get('name')}"
        self.access.linked(request.principal, new, old)
        policies.check(self.policies, new)
        services.quota(self, new, old)
        kind.check(self.world, new, old)
        if old is not None:
            new.hidden = {**old.hidden, **new.hidden}
            new.operation = old.operation
        new.state = "Creating" if old is None else "Updating"
        self.world.add(new)
        kind.begun(self.world, new, old)
        seconds = self.world.durations[kind.takes] if kind.takes else 0.0
        if not kind.takes:
            new.state = "Succeeded"
            kind.done(self.world, new)
            return Answer(200 if old else 201, self.view(new), {"ETag": f'W/"{new.etag}"'})
        operation = self.world.operate(
            where(new.id, new.location),
            seconds,
            lambda failure: self._written(new, failure),
            lambda: self.view(new),
        )
        new.operation = operation
        headers = async_headers(self.world, request, operation, location=kind.accepted)
        if kind.accepted and old is None:
            headers.pop("Azure-AsyncOperation")
            return Answer(202, None, headers)
        return Answer(200 if old else kind.made, self.view(new), {**headers, "ETag": f'W/"{new.etag}"'})

    def _written(self, resource: Resource, failure: ArmError | None) -> None:
        if self.world.resources.get(resource.key) is not resource or resource.state == "Deleting":
            return
        resource.state = "Failed" if failure else "Succeeded"
        if failure:
            resource.hidden |= {"failure": failure, "never": True}
        else:
            resource.hidden.pop("never", None)
            KINDS[resource.kind.lower()].done(self.world, resource)
        self.world.touch(resource)

    def match(self, request: Request, old: Resource | None) -> None:
        """If-Match and If-None-Match (rules: etag)."""
        wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
        failed = ArmError(
            412,
            "PreconditionFailed",
            "The condition '"
            + (f"If-Match {wanted}" if wanted else f"If-None-Match {unwanted}")
            + f"' for {request.path} is not met.",
        )
        if wanted and (old is None or (wanted != "*" and bare(wanted) != old.etag)):
            raise failed
        if unwanted and old is not None and (unwanted == "*" or bare(unwanted) == old.etag):
            raise failed

    def _patch(self, request: Request, path: Path, kind: Kind) -> Answer:
        if not kind.patch:
            raise ArmError(405, "MethodNotAllowed", f"PATCH is not for {path.kind}.")
        change = request.json()
        models.check(kind.patch, change)
        old = self.find(path)
        self.match(request, old)
        if old.busy:
            raise going(old) if old.state == "Deleting" else busy(old)
        services.check_tags(change.get("tags") or {})
        body = merged(old.body, {k: v for k, v in change.items() if k != "tags"})
        if "tags" in change:
            body["tags"] = change["tags"]
        new = Resource(old.id, old.kind, body, old.created, hidden={"wrote": old.hidden.get("wrote")})
        if set(change) <= {"tags"}:
            new.hidden, new.state, new.operation = old.hidden, old.state, old.operation
            self.world.add(new)
            return Answer(200, self.view(new))
        return self.write(request, kind, new, old)

    def _delete(self, request: Request, path: Path, kind: Kind) -> Answer:
        found = self.world.find(path.raw)
        if found is None:
            return Answer(204)
        self.match(request, found)
        if found.state == "Deleting" and found.operation is not None:
            return Answer(202, None, async_headers(self.world, request, found.operation, location=True))
        if found.busy and found.kind != compute.VM:
            raise busy(found)
        kind.may_go(self.world, found)
        if not kind.delete_takes:
            self.removed(found)
            return Answer(200)
        if found.busy and found.operation is not None:
            preempt(found.operation)
        found.state = "Deleting"
        seconds = self.world.durations[kind.delete_takes]
        found.operation = self.world.operate(
            where(found.id, found.location), seconds, lambda failure: self._deleted(found, failure)
        )
        headers = async_headers(self.world, request, found.operation, location=True)
        return Answer(202, None, headers)

    def _deleted(self, resource: Resource, failure: ArmError | None) -> None:
        if failure:
            resource.state = "Failed"
        elif self.world.resources.get(resource.key) is resource:
            self.removed(resource)

    def removed(self, resource: Resource) -> None:
        for inner in self.world.below(resource.id):
            self.world.remove(inner)
        KINDS[resource.kind.lower()].gone(self.world, resource)
        self.world.remove(resource)

    # ---- inline parts by their own ids
    def _part(self, request: Request, path: Path, kind: Kind) -> Answer:
        above = parse(path.parent)
        word = next(w for w in kind.parts if w.lower() == path.kind.rsplit("/", 1)[1].lower())
        owner = self.find(above) if request.method != "DELETE" else self.world.find(above.raw)
        if owner is None:
            return Answer(204)
        found = network.part(owner, f"{owner.id}/{word}/{path.name}")
        if request.method in ("GET", "HEAD"):
            return self._get_part(owner, word, path, found)
        if not kind.parts[word]:
            raise ArmError(405, "MethodNotAllowed", f"{path.kind} is written with its parent only.")
        return self._change_part(request, path, kind, word, owner, found)

    def _get_part(self, owner: Resource, word: str, path: Path, found: Body | None) -> Answer:
        if found is None:
            raise ArmError(404, "NotFound", f"Resource {path.raw} not found.")
        items = self.view(owner)["properties"][word]
        return Answer(200, next(item for item in items if item["name"] == found["name"]))

    def _change_part(
        self, request: Request, path: Path, kind: Kind, word: str, owner: Resource, found: Body | None
    ) -> Answer:
        if request.method == "DELETE" and found is None:
            return Answer(204)
        if owner.busy:
            raise busy(owner)
        body = json.loads(json.dumps(owner.body))
        items = [i for i in body["properties"].setdefault(word, []) if i["name"].lower() != path.name.lower()]
        if request.method == "PUT":
            wanted = request.json()
            models.check(kind.parts[word], wanted)
            items.append({**wanted, "name": found["name"] if found else path.name})
        body["properties"][word] = items
        new = Resource(owner.id, owner.kind, body, owner.created)
        answer = self.write(request, kind, new, owner)
        if request.method == "DELETE":
            assert new.operation is not None
            return Answer(202, None, async_headers(self.world, request, new.operation, location=True))
        shown = next(i for i in self.view(new)["properties"][word] if i["name"].lower() == path.name.lower())
        if new.operation is not None:
            new.operation.answer = lambda: shown
        return Answer(200 if found else 201, shown, answer.headers)


def bare(tag: str) -> str:
    return tag.removeprefix("W/").strip('"')


def preempt(operation: Operation) -> None:
    operation.status = "Canceled"
    operation.error = ArmError(
        409, "OperationPreempted", "Operation execution has been preempted by a more recent operation."
    )


def busy(resource: Resource) -> ArmError:
    if not resource.kind.startswith("Microsoft.Network"):
        return ArmError(
            409, "Conflict", f"The request failed due to conflict with a concurrent request on {resource.id}."
        )
    number = resource.operation.id if resource.operation else ""
    return ArmError(
        409,
        "AnotherOperationInProgress",
        "Another operation on this or dependent resource is in progress. To retrieve status of the operation use "
        f"uri: /{where(resource.id, resource.location)}/operations/{number}.",
    )


def going(resource: Resource) -> ArmError:
    if resource.kind == compute.VM:
        return compute.marked(resource, "PutVM")
    return ArmError(409, "Conflict", f"The resource {resource.id} is being deleted.")


def merged(old: Body, new: Body) -> Body:
    result = json.loads(json.dumps(old))
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result  # type: ignore[no-any-return]


def canonical(path: Path, kind: Kind) -> str:
    """A new resource's id, its type and group's words written as the service writes them."""
    scope = "/".join(
        "resourceGroups" if word.lower() == "resourcegroups" else word for word in path.scope.split("/")
    )
    words = kind.name.split("/")
    rest = "/".join(f"{word}/{name}" for word, name in zip(words[1:], path.names, strict=True))
    return f"{scope}/providers/{words[0]}/{rest}"


def unknown(path: Path) -> ArmError:
    namespace, _, rest = path.kind.partition("/")
    if not any(name.startswith(namespace.lower() + "/") for name in KINDS):
        return ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.")
    return ArmError(
        404,
        "InvalidResourceType",
        f"The resource type '{rest}' could not be found in the namespace '{namespace}'.",
    )


def read(method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Request:
    path, _, query = target.partition("?")
    return Request(
        method, unquote(path).rstrip("/"), dict(parse_qsl(query, keep_blank_values=True)), headers, raw
    )
