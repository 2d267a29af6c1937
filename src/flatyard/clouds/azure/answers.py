"""Azure's answers in the engine's words.

Sources: Azure's documents on common Resource Manager errors, allocation failures, quota errors and throttling, and
azure-core's exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError

from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, RateLimited, Rejected, Transient

T = TypeVar("T")
MISSING = ("ResourceNotFound", "ResourceGroupNotFound", "NotFound", "ParentResourceNotFound")
"""Codes that say that the resource itself, or what it is in, is not there."""
PRECONDITION = 412
_QUOTA_CODES = re.compile(
    r"QuotaExceeded|ResourceQuotaExceeded|\w*CountLimitReached|MaxStorageAccountsCount\w*"
)
_COUNTED = re.compile(r"Cannot create more than \d+ ")
"""How the network's limits are told, whatever their code is."""
CAPACITY = frozenset(
    (
        "AllocationFailed",
        "ZonalAllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
    )
)
_PASSING = (
    "AnotherOperationInProgress",
    "Conflict",
    "RetryableError",
    # of an operation that was accepted and then failed: the answer that says so is a 200
    "InternalServerError",
    "InternalOperationError",
    "InternalExecutionError",
    "NetworkingInternalOperationError",
    "ServerTimeout",
    "GatewayTimeout",
    "ServiceUnavailable",
    "ServerBusy",
    "TooManyRequests",
    # a principal that was made a moment ago, and that the directory has not everywhere yet
    "PrincipalNotFound",
    "ResourceGroupBeingDeleted",
    "ReferencedResourceNotProvisioned",
    "StorageAccountOperationInProgress",
    "Canceled",
    "CanceledAndSupersededDueToAnotherOperation",
    "OSProvisioningTimedOut",
)
"""Codes that a later try may not see."""
_FULL = "Capacity Restrictions"
"""In SkuNotAvailable, said at once: there is no room for the size where it was asked for, or it is closed to the
subscription, which preflight tells before anything is made. Another zone may have some.
"""
_GOING = "marked for deletion"
"""In OperationNotAllowed: a machine of that name is still being deleted."""
_IN_USE = re.compile(r"InUse|CannotBeDeleted|NicReservedForAnotherVm|ResourceStillInUse")
_LINKED = re.compile(r"action\(s\) '(?P<action>[^']+)' on the linked scope\(s\) '(?P<scope>[^']+)'")
_DENIED = re.compile(r"perform action '(?P<action>[^']+)'.*?scope '(?P<scope>[^']+)'", re.DOTALL)
_AAD = re.compile(r"AADSTS\d+")
LONGEST = 400


def translate(what: str, problem: Exception) -> CloudError | None:
    """What an exception of the SDK means for `what`; None: it is not Azure's."""
    if isinstance(problem, ClientAuthenticationError):
        return _not_known(what, problem)
    if isinstance(problem, HttpResponseError):
        return _answer(what, problem)
    if isinstance(problem, ServiceRequestError | ServiceResponseError):
        return Transient(f"{what}: the connection to Azure broke", why=_short(str(problem)))
    if isinstance(problem, AzureError):
        return Transient(f"{what}: {_short(str(problem))}")
    return None


def code_of(problem: HttpResponseError) -> str:
    """Azure's own code; the inner one of a long-running operation."""
    code = getattr(problem.error, "code", None) or ""
    return str(code or _header(problem, "x-ms-error-code"))


def or_none(call: Callable[[], T]) -> T | None:
    """The call's result; None where Azure says by an exact code that what it is about is not there."""
    try:
        return call()
    except HttpResponseError as problem:
        if problem.status_code == 404 and code_of(problem) in MISSING:
            return None
        raise


def exists_already(problem: HttpResponseError) -> bool:
    """Whether a PUT with If-None-Match says that there is one."""
    return problem.status_code == PRECONDITION


def _answer(what: str, problem: HttpResponseError) -> CloudError:
    code, status, said = code_of(problem), problem.status_code or 0, _said(problem)
    words, request = f"{what}: {said} ({code or status})", _header(problem, "x-ms-request-id")
    if status == 429:
        return RateLimited(words, retry_after=_seconds(problem), code=code)
    if _is_quota(code, said):
        return QuotaExceeded(
            words, code=code, request_id=request, next="free some, or ask for more under Usage + quotas"
        )
    if code in CAPACITY or _FULL in said:
        return NoCapacity(words, code=code, request_id=request, next=_NEXT.get(code, ""))
    if status >= 500 or status == 408 or code in _PASSING or _IN_USE.search(code) or _GOING in said:
        return Transient(words, code=code, request_id=request)
    if status == 403:
        return _denied(what, problem, code, request)
    return Rejected(words, code=code, request_id=request, next=_NEXT.get(code, ""))


_NEXT = {
    "SkuNotAvailable": "az vm list-skus --location LOCATION --all -o table shows what is there and why not",
    "MarketplacePurchaseEligibilityFailed": "accept the image's terms: az vm image terms accept --urn URN",
    "ResourceGroupNotFound": "run flatyard up again: it makes the group anew",
    "InvalidAuthenticationTokenTenant": "az login --tenant TENANT, or set AZURE_TENANT_ID",
    "MissingSubscriptionRegistration": "az provider register --namespace NAMESPACE --wait, as the answer names it",
    "SubscriptionNotFound": "az account list -o table, then set spec.cloud.azure.subscriptionID",
}


def _is_quota(code: str, said: str) -> bool:
    return bool(_QUOTA_CODES.fullmatch(code) or _COUNTED.search(said)) or (
        code in ("OperationNotAllowed", "BadRequest") and "quota" in said.lower()
    )


def _denied(what: str, problem: HttpResponseError, code: str, request: str) -> Rejected:
    """Names the permission and the resource."""
    said = _said(problem, longest=4000)
    found = _LINKED.search(said) or _DENIED.search(said)
    if not found:
        return Rejected(f"{what}: {_said(problem)} ({code})", code=code, request_id=request)
    action, scope = found["action"], found["scope"]
    return Rejected(
        f"{what}: permission {action} is missing on {scope} ({code})",
        code=code,
        request_id=request,
        next=f"give the caller a role with {action}; docs/azure.md has the least one",
    )


_CHAIN = "ChainedTokenCredential failed to retrieve a token"


def _not_known(what: str, problem: ClientAuthenticationError) -> CloudError:
    """Credentials that are refused; without a code where there are none at all."""
    said = str(problem)
    code = _AAD.search(said)
    if code is None and problem.response is not None:
        return Rejected(
            f"{what}: {_said(problem)} ({code_of(problem)})",
            code=code_of(problem),
            next="az login, or renew the credential",
        )
    # a chain of which no member has anything says so with the wider class
    none = isinstance(problem, CredentialUnavailableError) or (code is None and said.startswith(_CHAIN))
    return Rejected(
        f"{what}: {'there are no credentials for Azure' if none else 'Azure does not accept the credentials'}",
        code=code[0] if code else "" if none else "AuthenticationFailed",
        why=_short(said),
        next="az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    )


def _said(problem: HttpResponseError, longest: int = LONGEST) -> str:
    """Azure's words, with the first of its details: often they alone name what it is about."""
    words = getattr(problem.error, "message", None) or problem.reason or str(problem)
    details = [getattr(one, "message", "") for one in getattr(problem.error, "details", None) or ()]
    return _short(" ".join((words, *details[:1])), longest)


def _short(said: str, longest: int = LONGEST) -> str:
    one = " ".join(str(said).split())
    return one if len(one) <= longest else f"{one[: longest - 1]}…"


def _header(problem: HttpResponseError, name: str) -> str:
    headers = getattr(problem.response, "headers", None) or {}
    return str(headers.get(name) or "")


def _seconds(problem: HttpResponseError) -> float:
    try:
        return max(0.0, float(_header(problem, "Retry-After") or 0))
    except ValueError:
        return 0.0
