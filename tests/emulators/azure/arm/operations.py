"""Long-running operations, asked for in both of their forms (rules: operation-status, operation-location)."""

from __future__ import annotations

import re
from urllib.parse import quote

from .errors import ArmError
from .routes import Answer, Request
from .world import Body, Operation, World

ASKED = re.compile(
    r"/subscriptions/[^/]+/(providers/.+/)?operat(ions|ionresults)/([0-9a-f-]{36})", re.IGNORECASE
)


def async_headers(
    world: World, request: Request, operation: Operation, *, location: bool = False, only: bool = False
) -> dict[str, str]:
    scope = "/".join(request.path.split("/")[:3])
    base = f"{request.base}{quote(scope)}/providers/{operation.kind}"
    query = f"?api-version={request.query['api-version']}"
    headers = {"Retry-After": str(world.retry_after)}
    if not only:
        headers["Azure-AsyncOperation"] = f"{base}/operations/{operation.id}{query}"
    if location or only:
        headers["Location"] = f"{base}/operationresults/{operation.id}{query}"
    return headers


def find_operation(world: World, request: Request) -> Answer | None:
    match = ASKED.fullmatch(request.path)
    if match is None or request.method != "GET":
        return None
    operation = world.operations.get(match[3])
    if operation is None:
        raise ArmError(404, "OperationNotFound", f"The operation {match[3]} was not found.")
    if match[2].lower() == "ions":
        running = operation.status == "InProgress"
        return Answer(
            200, status(world, operation), {"Retry-After": str(world.retry_after)} if running else {}
        )
    if operation.status == "InProgress":
        return Answer(202, None, async_headers(world, request, operation, only=True))
    if operation.error is not None:
        raise operation.error
    body = operation.answer() if operation.answer else None
    return Answer(200 if body is not None else 204, body)


def status(world: World, operation: Operation) -> Body:
    body: Body = {
        "name": operation.id,
        "status": operation.status,
        "startTime": world.text(operation.started),
    }
    if operation.ended is not None:
        body["endTime"] = world.text(operation.ended)
    if operation.error is not None:
        body["error"] = operation.error.body()
    elif operation.status == "Succeeded" and operation.answer:
        body["properties"] = {"output": operation.answer()}
    return body
