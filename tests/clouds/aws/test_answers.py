"""What AWS answers becomes what the engine knows: by the code, and with the permission and resource in words."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from flatyard.clouds.aws.answers import ASKED, missing_is_fine, translate
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, RateLimited, Rejected, Transient
from flatyard.clouds.facts import Retry, Trouble

KINDS = {
    Retry.SOON: (Transient, RateLimited),
    Retry.LATER: (QuotaExceeded, Transient),
    Retry.NEVER: (Rejected,),
}


def answer(code: str, message: str = "no", status: int = 400, **headers: str) -> CloudError:
    meta = {"RequestId": "req-7", "HTTPStatusCode": status, "HTTPHeaders": headers}
    asked = {"service": "ec2", "operation": "RunInstances", "resource": "ami-1"}
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta, ASKED: asked}
    found = translate("creating web-1", ClientError(response, "RunInstances"))
    assert found is not None
    return found


@pytest.mark.parametrize("trouble", [refusal.trouble for refusal in FACTS.refusals], ids=str)
def test_every_refusal_of_the_facts_is_told_as_what_helps(trouble: Trouble) -> None:
    refusal = FACTS.refusal(trouble)
    found = answer(refusal.code, refusal.message, refusal.status)
    assert isinstance(found, KINDS[refusal.retry]), f"{refusal.code} is told as {type(found).__name__}"
    assert found.code == refusal.code and "creating web-1" in str(found)


def test_throttling_waits_as_long_as_it_is_told() -> None:
    found = answer("SlowDown", status=503, **{"retry-after": "3"})
    assert isinstance(found, RateLimited) and found.retry_after == 3
    again = answer("RequestLimitExceeded", status=503)
    assert isinstance(again, RateLimited) and again.retry_after == 0


def test_no_capacity_is_no_server_error_and_no_quota() -> None:
    assert type(answer("InsufficientInstanceCapacity", status=500)) is NoCapacity


@pytest.mark.parametrize("code", ["InsufficientFreeAddressesInSubnet", "SpotMaxPriceTooLow"])
def test_what_one_zone_lacks_another_may_have(code: str) -> None:
    """A full subnet ended up with a word on Service Quotas, and a spot price in one zone with a final refusal."""
    assert isinstance(answer(code), NoCapacity)


def test_a_quota_says_where_it_is_raised() -> None:
    found = answer("VcpuLimitExceeded", "You have requested more vCPU capacity than your limit of 5")
    assert isinstance(found, QuotaExceeded) and "Service Quotas" in found.next and found.request_id == "req-7"


@pytest.mark.parametrize(
    ("message", "permission", "resource"),
    [
        (
            "You are not authorized to perform this operation. User: arn:aws:iam::1:user/u is not authorized to "
            "perform: ec2:RunInstances on resource: arn:aws:ec2:eu-central-1:1:subnet/subnet-1 because no "
            "identity-based policy allows the ec2:RunInstances action. Encoded authorization failure message: abc",
            "ec2:RunInstances",
            "arn:aws:ec2:eu-central-1:1:subnet/subnet-1",
        ),
        (
            "User: arn:aws:iam::1:user/u is not authorized to perform: iam:PassRole on resource: role/x",
            "iam:PassRole",
            "role/x",
        ),
        ("You are not authorized to perform this operation.", "ec2:RunInstances", "ami-1"),
    ],
    ids=("in full", "another service's", "nothing but no"),
)
def test_a_denied_permission_is_named_with_its_resource(message: str, permission: str, resource: str) -> None:
    found = answer("UnauthorizedOperation", message, 403)
    assert isinstance(found, Rejected)
    assert f"the credentials lack the permission {permission} on {resource} (" in found.what
    assert f"allow {permission}" in found.next and "Encoded" not in str(found)


def test_what_s3_denies_without_words_is_named_as_policies_have_it() -> None:
    """S3 says "Access Denied" and no more."""
    response = {
        "Error": {"Code": "AccessDenied", "Message": "Access Denied"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
        ASKED: {"service": "s3", "operation": "ListObjectsV2", "resource": "arn:aws:s3:::b"},
    }
    found = translate("deleting the bucket b", ClientError(response, "ListObjectsV2"))
    assert found is not None and "the permission s3:ListBucket on arn:aws:s3:::b (" in found.what


def test_a_new_instance_profile_is_known_later() -> None:
    found = answer(
        "InvalidParameterValue", "Value (p) for parameter x is invalid. Invalid IAM Instance Profile name"
    )
    assert isinstance(found, Transient)
    assert isinstance(answer("InvalidParameterValue", "Value (p) is invalid"), Rejected)


@pytest.mark.parametrize(
    "problem",
    [
        EndpointConnectionError(endpoint_url="https://ec2"),
        ConnectionClosedError(endpoint_url="https://ec2"),
        ReadTimeoutError(endpoint_url="https://ec2"),
    ],
    ids=lambda p: type(p).__name__,
)
def test_a_broken_connection_may_have_done_it(problem: Exception) -> None:
    assert isinstance(translate("creating web-1", problem), Transient)


def test_expired_and_missing_credentials_say_what_to_do() -> None:
    for found in (answer("ExpiredToken", status=403), translate("asking", NoCredentialsError())):
        assert isinstance(found, Rejected) and "aws sso login" in found.next


def test_an_image_that_is_not_shared_is_no_matter_of_credentials() -> None:
    found = answer("AuthFailure", "Not authorized for images: [ami-1]")
    assert isinstance(found, Rejected) and "flatyard images list" in found.next


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20261122T040000Z is now earlier than 20261122T050000Z"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20261122T060000Z is still later"),
        (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
    ],
)
def test_a_wrong_clock_is_no_matter_of_credentials(code: str, message: str) -> None:
    found = answer(code, message, status=403)
    assert isinstance(found, Rejected) and "set the clock" in found.next


def test_what_is_protected_from_deletion_is_not_tried_for_ever() -> None:
    assert isinstance(answer("OperationNotPermitted", "The instance may not be terminated"), Rejected)


def test_our_own_bugs_are_not_answers() -> None:
    assert translate("asking", KeyError("x")) is None


def test_only_what_is_not_there_is_fine() -> None:
    with missing_is_fine():
        raise answer("InvalidSubnetID.NotFound")
    with pytest.raises(Rejected), missing_is_fine():
        raise answer("InvalidSubnetID.Malformed")
    with pytest.raises(Transient), missing_is_fine():
        raise answer("DependencyViolation")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidParameterValue", 'IAM Instance Profile "arn:…/flatyard-x" has no associated IAM Roles'),
        ("InvalidParameterValue", "Network interface 'eni-1' is currently in use."),
        ("RequestTimeout", "Your socket connection to the server was not read from within the timeout"),
        ("ConcurrentModification", "the policy is being changed"),
        ("InvalidPermission.Duplicate", "the specified rule already exists"),
        ("RouteAlreadyExists", "The route identified by 0.0.0.0/0 already exists."),
        ("Resource.AlreadyAssociated", "the specified association already exists"),
    ],
)
def test_what_a_later_look_shows_is_not_final(code: str, message: str) -> None:
    assert isinstance(answer(code, message), Transient)
