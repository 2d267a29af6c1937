"""First-boot secrets in a bucket of the cluster's own: private, encrypted, and emptied by itself after a day."""

from __future__ import annotations

from flatyard.clouds.aws.answers import DENIED, missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import are_ours, pairs
from flatyard.clouds.cloud import ClusterRef, Rejected, Stashed, StashForbidden
from flatyard.clouds.naming import bucket_of
from flatyard.clouds.tags import cluster_tags
from flatyard.model.traits import StashScheme

_THERE = "BucketAlreadyOwnedByYou"
_FIRST_REGION = "us-east-1"
_CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_ENDS = {
    "Rules": [{"ID": "first-boot", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
}


async def stash(
    account: Account, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float, scheme: StashScheme
) -> Stashed:
    """Put it, and say how a machine gets it: by a pre-signed URL, or with its own role. Raises StashForbidden."""
    bucket = bucket_of(ref)
    try:
        try:
            await _put(account, bucket, key, blob)
        except Rejected as no:
            if no.code != "NoSuchBucket":
                raise
            await ensure_bucket(account, ref)
            await _put(account, bucket, key, blob, new=True)
    except Rejected as no:
        if no.code not in DENIED:
            raise
        raise StashForbidden(no.what, code=no.code, why=no.why, next=no.next) from None
    if scheme is StashScheme.S3:
        return Stashed(key, f"s3://{bucket}/{key}")
    return Stashed(key, await account.sign(bucket, key, min(ttl_seconds, FACTS.stash.longest_ttl)))


async def unstash(account: Account, ref: ClusterRef, key: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {key}", "s3", "delete_object", Bucket=bucket_of(ref), Key=key)


async def _put(account: Account, bucket: str, key: str, blob: bytes, *, new: bool = False) -> None:
    put = account.follow if new else account.write
    await put(f"stashing {key}", "s3", "put_object", Bucket=bucket, Key=key, Body=blob)


async def ensure_bucket(account: Account, ref: ClusterRef) -> None:
    """Make the bucket, closed to the public; each step may be done already."""
    bucket = bucket_of(ref)
    what = f"making the bucket {bucket}"
    place = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
    try:
        await account.write(
            what, "s3", "create_bucket", Bucket=bucket, **(place if account.region != _FIRST_REGION else {})
        )
    except Rejected as no:
        if no.code != _THERE:
            raise
    await account.follow(
        what, "s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=_CLOSED
    )
    tags = {"TagSet": pairs(cluster_tags(ref, FACTS.tags))}
    await account.follow(what, "s3", "put_bucket_tagging", Bucket=bucket, Tagging=tags)
    await account.follow(
        what, "s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=_ENDS
    )


async def found_bucket(account: Account, ref: ClusterRef) -> Answer | None:
    """The cluster's bucket, when it is there and has our tags."""
    bucket = bucket_of(ref)
    what = f"looking for the bucket {bucket}"
    rows = await account.pages(what, "s3", "list_buckets", "Buckets", Prefix=bucket)
    row = next((row for row in rows if row["Name"] == bucket), None)
    if row is None:
        return None
    tags: dict[str, str] = {}
    with missing_is_fine():
        answer = await account.read(what, "s3", "get_bucket_tagging", Bucket=bucket)
        tags = {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}
    return row if are_ours(tags, ref) else None


async def delete_bucket(account: Account, ref: ClusterRef) -> None:
    """Empty it and delete it; a missing one is fine."""
    if await found_bucket(account, ref) is None:
        return
    bucket = bucket_of(ref)
    what = f"deleting the bucket {bucket}"
    with missing_is_fine():
        rows = await account.pages(what, "s3", "list_objects_v2", "Contents", Bucket=bucket)
        for row in rows:
            await account.write(what, "s3", "delete_object", Bucket=bucket, Key=row["Key"])
        await account.write(what, "s3", "delete_bucket", Bucket=bucket)
