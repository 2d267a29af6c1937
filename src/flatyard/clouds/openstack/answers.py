"""What OpenStack's services answer, in the engine's words.

Sources: the error bodies of Nova (one key, `forbidden`, `overLimit`, …), Neutron (`NeutronError` with a type),
Keystone (`error`) and Glance (text); keystonemiddleware answers 401 when an access rule is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as auth_errors
from openstack import exceptions as sdk_errors

from flatyard.clouds.cloud import CloudError, QuotaExceeded, RateLimited, Rejected, Transient

T = TypeVar("T")
NOT_FOUND = "itemNotFound"
"""The one code of everything that is not there, whichever service says so."""
NEVER = "notImplemented"
"""The one code of what a service's driver cannot do."""
UNAUTHORIZED = "unauthorized"
FORBIDDEN = "forbidden"
_BAD, _UNAUTHORIZED, _FORBIDDEN, _MISSING, _CONFLICT, _TOO_LARGE, _BUSY, _SERVER = (
    400,
    401,
    403,
    404,
    409,
    413,
    429,
    500,
)
_QUOTA = re.compile(r"quota|limit exceeded|Maximum number of .* exceeded", re.IGNORECASE)
_POLICY = re.compile(r"\(?rule:([\w:-]+)|Policy doesn't allow ([\w:.-]+)")
_NOT_IMPLEMENTED = 501
_TAG = re.compile(r"<[^>]*>|\s+")
_ROUTERS = (
    "the project's only router may be in use: write network: auto_allocated_network (or another network that "
    "has a router) under spec.cloud.openstack"
)
_MORE = "free some, or ask the site's support to raise the project's quota"


def translate(what: str, problem: Exception) -> CloudError | None:
    """What one of the SDK's exceptions means; None for a mistake of ours."""
    if isinstance(problem, sdk_errors.HttpException):
        return _answered(what, problem, problem.response)
    if isinstance(problem, auth_errors.HttpError):
        return _answered(what, problem, problem.response)
    lost = (auth_errors.ConnectionError, auth_errors.DiscoveryFailure, requests.exceptions.RequestException)
    if isinstance(problem, lost):
        return Transient(f"{what}: no answer", why=_short(str(problem)))
    if isinstance(problem, auth_errors.EndpointNotFound | sdk_errors.EndpointNotFound):
        return Rejected(
            f"{what}: {_short(str(problem))}", code="endpointNotFound", next="check the region's name"
        )
    if isinstance(problem, sdk_errors.ServiceDisabledException | sdk_errors.NotSupported):
        return Rejected(f"{what}: {_short(str(problem))}", code="serviceDisabled")
    if isinstance(problem, sdk_errors.ServiceDiscoveryException):
        return Transient(f"{what}: no answer", why=_short(str(problem)))
    if isinstance(problem, auth_errors.ClientException | sdk_errors.SDKException):
        return Rejected(f"{what}: {_short(str(problem))}", code=type(problem).__name__)
    return None


def is_missing(error: CloudError) -> bool:
    return error.code == NOT_FOUND


def is_never(error: CloudError) -> bool:
    return error.code == NEVER


def if_any(find: Callable[[], T]) -> T | None:
    """What one of the SDK's `find_` calls finds, with `ignore_missing=False`: to leave that away is going to change."""
    try:
        return find()
    except sdk_errors.NotFoundException:
        return None


@contextmanager
def missing_is_fine() -> Iterator[None]:
    """Deleting what is not there is done."""
    try:
        yield
    except CloudError as error:
        if not is_missing(error):
            raise


def _answered(what: str, problem: Exception, response: object) -> CloudError:
    """From an HTTP status and its body."""
    given = response if isinstance(response, requests.Response) else None
    status = given.status_code if given is not None else _status(problem)
    code, message = _body(given, problem)
    request_id = given.headers.get("x-openstack-request-id", "") if given is not None else ""
    words = f"{what}: {message}" if message else f"{what}: {status}"
    if status == _BUSY or (
        status == _TOO_LARGE and _retry_after(given)
    ):  # 413: Nova's before 2014, and some proxies'
        return RateLimited(words, retry_after=_retry_after(given), code=code or "overLimit")
    if status == _NOT_IMPLEMENTED:  # Octavia's for what its driver cannot do
        return Rejected(words, code=NEVER, request_id=request_id)
    if status >= _SERVER or status == 0:
        return Transient(words, code=code, request_id=request_id)
    if given is not None and "/auth/tokens" in (given.url or ""):
        return _refused_login(what, message, request_id)
    if status == _MISSING:
        return Rejected(words, code=NOT_FOUND, request_id=request_id)
    if code == "OverQuota" or (status in (_FORBIDDEN, _TOO_LARGE, _CONFLICT) and _QUOTA.search(message)):
        hint = _ROUTERS if "router" in message.lower() else _MORE
        return QuotaExceeded(words, code=code or "overLimit", request_id=request_id, next=hint)
    if status == _UNAUTHORIZED:
        return _unauthorized(what, message, given, request_id)
    if status == _FORBIDDEN:
        return _denied(what, message, given, request_id)
    if status == _CONFLICT:
        return Transient(words, code=code or "conflict", request_id=request_id)
    return Rejected(words, code=code or str(status), request_id=request_id)


def _refused_login(what: str, message: str, request_id: str) -> CloudError:
    """Keystone's 401, or its 404 for an application credential that is gone."""
    return Rejected(
        f"{what}: the login was refused",
        code=UNAUTHORIZED,
        request_id=request_id,
        why=message,
        next="the credential is wrong, expired or deleted: openstack token issue says the same; make a new one",
    )


def _unauthorized(what: str, message: str, given: requests.Response | None, request_id: str) -> CloudError:
    asked = _asked(given)
    return Rejected(
        f"{what}: the credential has no access rule for {asked}" if asked else f"{what}: {message}",
        code=UNAUTHORIZED,
        request_id=request_id,
        next="make the application credential with the access rules of docs/openstack.md",
    )


def _denied(what: str, message: str, given: requests.Response | None, request_id: str) -> CloudError:
    """A permission, by the policy's name where the service gives it, and the resource."""
    found = _POLICY.search(message)
    policy = next(filter(None, found.groups()), "") if found else ""
    asked = _asked(given)
    lacking = f"the credential lacks {policy}" if policy else "the credential may not do that"
    return Rejected(
        f"{what}: {lacking} ({asked})" if asked else f"{what}: {lacking}",
        code=FORBIDDEN,
        request_id=request_id,
        why=message,
        next="the role member of the project is needed (docs/openstack.md, Least permissions)",
    )


def _asked(given: requests.Response | None) -> str:
    if given is None or not given.request.url:
        return ""
    return f"{given.request.method} {urlsplit(given.request.url).path}"


def _status(problem: Exception) -> int:
    for name in ("status_code", "http_status"):
        value = getattr(problem, name, None)
        if isinstance(value, int):
            return value
    return 0


def _body(given: requests.Response | None, problem: Exception) -> tuple[str, str]:
    """The service's own code and message."""
    if given is None:
        return "", _short(str(problem))
    try:
        body = given.json()
    except ValueError:
        return "", _short(given.text)
    if not isinstance(body, dict):
        return "", _short(json.dumps(body))
    for key, value in body.items():
        if isinstance(value, dict):
            code = value.get("type") or (key if key != "error" else value.get("title", ""))
            return str(code), _short(str(value.get("message", "")))
        if key in ("faultstring", "message") and isinstance(value, str):
            return str(body.get("faultcode", "")), _short(value)
    return "", _short(given.text)


def _retry_after(given: requests.Response | None) -> float:
    value = given.headers.get("Retry-After", "") if given is not None else ""
    return float(value) if value.replace(".", "", 1).isdigit() else 0.0


def _short(text: str) -> str:
    return _TAG.sub(" ", text).strip()[:400]
