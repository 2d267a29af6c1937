"""What AWS answers, in the engine's words.

Codes: the error tables of the EC2, Elastic Load Balancing, IAM and S3 API references. What is missing is told by one
exact code each; a denied permission by its name and the resource, as the message or the call has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
)
from botocore.exceptions import ConnectionError as BrokenConnection
from botocore.parsers import ResponseParserError

from flatyard.clouds.aws.credentials import FIND
from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, RateLimited, Rejected, Transient

ASKED = "Asked"
"""Key of a ClientError's response under which the client keeps service and resource of the call."""
RATE = frozenset(
    (
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    )
)
QUOTA = frozenset(
    (
        "LimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "PendingVpcPeeringConnectionLimitExceeded",
        "TooManyBuckets",
        "TooManyListeners",
        "TooManyLoadBalancers",
        "TooManyRegistrationsForTargetId",
        "TooManyTargetGroups",
        "TooManyTargets",
    )
)
"""Besides those that end in `LimitExceeded`."""
CAPACITY = frozenset(
    (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientAddressCapacity",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
    )
)
"""What one zone lacks, or asks a higher price for, and another may have."""
DENIED = frozenset(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"))
CREDENTIALS = frozenset(
    (
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
HELD = "DependencyViolation"
IN_USE = frozenset(
    (
        "BucketNotEmpty",
        "DeleteConflict",
        HELD,
        "InvalidGroup.InUse",
        "InvalidIPAddress.InUse",
        "InvalidNetworkInterface.InUse",
        "InvalidSnapshot.InUse",
        "InvalidTarget",
        "IncorrectInstanceState",
        "IncorrectState",
        "OperationAborted",
        "ResourceInUse",
        "VolumeInUse",
    )
)
MISSING = frozenset(
    (
        "Gateway.NotAttached",
        "InvalidAllocationID.NotFound",
        "InvalidAssociationID.NotFound",
        "InvalidGatewayID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidInstanceID.NotFound",
        "InvalidInternetGatewayID.NotFound",
        "InvalidKeyPair.NotFound",
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidPermission.NotFound",
        "InvalidRouteTableID.NotFound",
        "InvalidSnapshot.NotFound",
        "InvalidSpotInstanceRequestID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidVolume.NotFound",
        "InvalidVpcID.NotFound",
        "ListenerNotFound",
        "LoadBalancerNotFound",
        "NatGatewayNotFound",
        "NoSuchBucket",
        "NoSuchEntity",
        "NoSuchKey",
        "NoSuchTagSet",
        "TargetGroupNotFound",
    )
)
_BUSY = frozenset(
    ("ConcurrentModification", "ConcurrentTagAccess", "EntityTemporarilyUnmodifiable", "RequestTimeout")
)
"""What IAM, EC2 and S3 answer with a client's status and mean to be tried again."""
THERE = frozenset(
    (
        "InvalidGroup.Duplicate",
        "InvalidPermission.Duplicate",
        "InvalidSubnet.Conflict",
        "Resource.AlreadyAssociated",
        "RouteAlreadyExists",
    )
)
"""What a call whose reply was lost has made before, and no list showed yet: a later one does."""
_PERMISSIONS = {
    "ListBuckets": "ListAllMyBuckets",
    "ListObjectsV2": "ListBucket",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}
"""Permissions that are not called as the call is (Service Authorization Reference, Amazon S3)."""
MISMATCH, ENDED = "IdempotentParameterMismatch", "IdempotentInstanceTerminated"
"""What EC2 says of a client token that made an instance: by other parameters, or one that was terminated since."""
_IMAGES = "Not authorized for images"
"""With the code of bad credentials EC2 says so of an image that is not shared with the account."""
_CLOCK = ("Signature expired", "Signature not yet current")
"""How a wrong clock is told, with SignatureDoesNotMatch (IAM user guide, "Troubleshoot signed requests")."""
_NEW_PROFILE = ("Invalid IAM Instance Profile", "has no associated IAM Roles")
"""What EC2 says of a profile that IAM has not told it of, or not the whole of it."""
_NEW_GATEWAY = "has no internet gateway"
"""With `InvalidSubnet` Elastic Load Balancing says so of a VPC whose gateway was attached a moment ago."""
_STILL_IN_USE = "is currently in use"
"""EC2 says so of a network interface, with InvalidParameterValue."""
_PERFORM = re.compile(r"not authorized to perform: ([\w-]+:\w+)(?: on resource: (\S+))?")
_SERVER = 500


def translate(what: str, problem: Exception) -> CloudError | None:
    """The CloudError for one of boto3's exceptions; None for what is none of AWS's answers."""
    if isinstance(problem, ClientError):
        return _answered(what, problem)
    if isinstance(
        problem, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | SSOError
    ):
        return Rejected(
            f"{what}: no AWS credentials", code=type(problem).__name__, why=str(problem), next=FIND
        )
    if isinstance(problem, BrokenConnection | HTTPClientError | ResponseParserError):
        return Transient(
            f"{what}: the connection to AWS broke", code=type(problem).__name__, why=str(problem)
        )
    if isinstance(problem, ParamValidationError | BotoCoreError):
        return Rejected(f"{what}: {problem}", code=type(problem).__name__)
    return None


@contextmanager
def missing_is_fine() -> Iterator[None]:
    """Deleting what is not there is done."""
    try:
        yield
    except Rejected as no:
        if no.code not in MISSING:
            raise


def is_unheard(no: Rejected) -> bool:
    """Whether a refusal may be of something that was made a moment ago."""
    return no.code in MISSING or _NEW_GATEWAY in no.what


def denied(what: str, code: str, message: str, asked: dict[str, Any], request_id: str = "") -> Rejected:
    """The refusal of a permission: which, and on what."""
    found = _PERFORM.search(message)
    operation = str(asked.get("operation", "?"))
    wanted = f"{asked.get('service', 'aws')}:{_PERMISSIONS.get(operation, operation)}"
    permission = found[1] if found else wanted
    resource = (found[2] if found else "") or asked.get("resource", "") or "*"
    return Rejected(
        f"{what}: the credentials lack the permission {permission} on {resource.rstrip('.')} ({code})",
        code=code,
        request_id=request_id,
        why=message.partition(" Encoded authorization failure message")[0],
        next=f"allow {permission}; docs/aws.md has the least policy that flatyard needs",
    )


def _answered(what: str, problem: ClientError) -> CloudError:
    error = problem.response.get("Error", {})
    meta = problem.response.get("ResponseMetadata", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    request_id, status = str(meta.get("RequestId", "")), int(meta.get("HTTPStatusCode", 0))
    words = f"{what}: {message} ({code})"
    if code in RATE:
        after = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
        return RateLimited(words, retry_after=float(after) if after.isdigit() else 0.0, code=code)
    if code in DENIED:
        return denied(what, code, message, problem.response.get(ASKED, {}), request_id)
    if code in CREDENTIALS:
        return Rejected(words, code=code, request_id=request_id, next=_who(code, message))
    if code in QUOTA or code.endswith("LimitExceeded"):
        return QuotaExceeded(
            words,
            code=code,
            request_id=request_id,
            next="free some, or ask for more under Service Quotas in the AWS console",
        )
    if code in CAPACITY:
        return NoCapacity(words, code=code, request_id=request_id)
    if _may_pass(code, message, status):
        return Transient(words, code=code, request_id=request_id)
    return Rejected(words, code=code, request_id=request_id, next=_next(code))


def _who(code: str, message: str) -> str:
    """What helps against refused credentials, or against what AWS tells by the same codes."""
    if _IMAGES in message:
        return _next("InvalidAMIID")
    if code == "RequestTimeTooSkewed" or any(words in message for words in _CLOCK):
        return "set the clock of this machine (timedatectl): signatures hold for some minutes only"
    return FIND


def _may_pass(code: str, message: str, status: int) -> bool:
    """What a later try may not see: what is still in use or not in the lists yet, what IAM has not told EC2 yet."""
    said = any(words in message for words in (*_NEW_PROFILE, _STILL_IN_USE))
    return said or code in IN_USE | THERE | _BUSY or status >= _SERVER


def _next(code: str) -> str:
    if code.startswith("InvalidAMIID"):
        return "flatyard images list --cloud aws shows the images that the region has"
    return "" if code in MISSING else "flatyard plan says what is wrong before anything is made"
