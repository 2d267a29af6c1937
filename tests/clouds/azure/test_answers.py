"""What each of Azure's answers means for the engine."""

from __future__ import annotations

import json

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from clouds.azure.replies import Reply
from flatyard.clouds.azure.answers import or_none, translate
from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, RateLimited, Rejected, Transient


def refused(status: int, code: str, message: str = "words", **headers: str) -> HttpResponseError:
    reply = Reply(status, json.dumps({"error": {"code": code, "message": message}}), headers)
    return HttpResponseError(response=reply)  # type: ignore[arg-type]


def told(problem: Exception) -> CloudError:
    found = translate("creating web-1", problem)
    assert found is not None and "creating web-1" in str(found)
    return found


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (409, "OperationNotAllowed", "exceeding approved Total Regional Cores quota", QuotaExceeded),
        (409, "QuotaExceeded", "", QuotaExceeded),
        (400, "PublicIPCountLimitReached", "", QuotaExceeded),
        (400, "VnetCountLimitReached", "", QuotaExceeded),
        (400, "IPv4StandardSkuPublicIpCountLimitReached", "", QuotaExceeded),
        (
            400,
            "SomeLimit",
            "Cannot create more than 1000 load balancers for this subscription",
            QuotaExceeded,
        ),
        (409, "OperationNotAllowed", "the disk is attached", Rejected),
        (409, "OperationNotAllowed", "not allowed on VM 'x' since the VM is marked for deletion.", Transient),
        (400, "NicReservedForAnotherVm", "", Transient),
        (400, "PublicIPAddressCannotBeDeleted", "", Transient),
        (409, "AllocationFailed", "", NoCapacity),
        (409, "ZonalAllocationFailed", "", NoCapacity),
        (
            409,
            "SkuNotAvailable",
            "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
            "Standard_D2s_v3' is currently not available in location 'eastus'.",
            NoCapacity,
        ),
        (409, "AnotherOperationInProgress", "", Transient),
        (400, "InUseSubnetCannotBeDeleted", "", Transient),
        (400, "NicInUse", "", Transient),
        (400, "PrincipalNotFound", "", Transient),
        (500, "InternalServerError", "", Transient),
        (504, "GatewayTimeout", "", Transient),
        (409, "SkuNotAvailable", "", Rejected),
        (404, "PlatformImageNotFound", "", Rejected),
        (400, "InvalidParameter", "", Rejected),
    ],
)
def test_codes_have_their_meaning(status: int, code: str, message: str, kind: type[CloudError]) -> None:
    found = told(refused(status, code, message))
    assert type(found) is kind and found.code == code


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InternalServerError", Transient),
        ("NetworkingInternalOperationError", Transient),
        ("RetryableError", Transient),
        ("InUseSubnetCannotBeDeleted", Transient),
        ("ZonalAllocationFailed", NoCapacity),
        ("InvalidParameter", Rejected),
    ],
)
def test_an_operation_that_fails_after_it_was_accepted_means_what_its_code_says(
    code: str, kind: type[CloudError]
) -> None:
    """hashicorp/terraform-provider-azurerm#815: StatusCode=200, status Failed, Code="InternalServerError"."""
    body = {"status": "Failed", "error": {"code": code, "message": "An error occurred."}}
    found = told(HttpResponseError(response=Reply(200, json.dumps(body))))  # type: ignore[arg-type]
    assert type(found) is kind and found.code == code


def test_the_first_detail_is_told_with_the_words() -> None:
    detail = {"code": "ReferencedResourceNotProvisioned", "message": "Resource /net is in Failed state."}
    said = {"code": "RetryableError", "message": "A retryable error occurred.", "details": [detail]}
    found = told(HttpResponseError(response=Reply(429, json.dumps({"error": said}))))  # type: ignore[arg-type]
    assert isinstance(found, RateLimited)
    assert "A retryable error occurred. Resource /net is in Failed state." in found.what


def test_throttling_names_its_seconds() -> None:
    found = told(refused(429, "TooManyRequests", **{"Retry-After": "17"}))
    assert isinstance(found, RateLimited) and found.retry_after == 17


def test_a_denied_permission_names_the_permission_and_the_resource() -> None:
    found = told(
        refused(
            403,
            "AuthorizationFailed",
            "The client 'c' with object id 'c' does not have authorization to perform action "
            "'Microsoft.Network/publicIPAddresses/write' over scope '/subscriptions/S/resourceGroups/G'.",
        )
    )
    assert isinstance(found, Rejected)
    assert "permission Microsoft.Network/publicIPAddresses/write is missing on /subscriptions/S" in found.what
    assert "Microsoft.Network/publicIPAddresses/write" in found.next


def test_a_permission_on_a_linked_resource_is_the_one_that_is_named() -> None:
    found = told(
        refused(
            403,
            "LinkedAuthorizationFailed",
            "The client has permission to perform action 'Microsoft.Compute/virtualMachines/write' on scope '/a'; "
            "however, it does not have permission to perform action(s) "
            "'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/net/nodes' or so.",
        )
    )
    assert "subnets/join/action is missing on /net/nodes" in found.what


def test_a_broken_connection_may_have_done_it() -> None:
    assert isinstance(told(ServiceRequestError("reset")), Transient)


def test_credentials_that_are_not_accepted_are_final_and_not_shown() -> None:
    found = told(ClientAuthenticationError("AADSTS7000215: Invalid client secret provided."))
    assert isinstance(found, Rejected) and found.code == "AADSTS7000215" and "az login" in found.next


def test_no_credentials_at_all_are_not_refused_ones() -> None:
    assert told(CredentialUnavailableError("none of them")).code == ""
    assert told(ClientAuthenticationError("Unable to get authority configuration")).code != ""


def test_only_the_exact_code_says_that_something_is_not_there() -> None:
    def missing() -> str:
        raise refused(404, "ResourceNotFound")

    def other() -> str:
        raise refused(404, "InvalidResourceNamespace")

    assert or_none(missing) is None
    with pytest.raises(HttpResponseError):
        or_none(other)


def test_a_bug_of_ours_is_nobody_s_answer() -> None:
    assert translate("x", KeyError("y")) is None
