"""The provider's answers as errors that the engine knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, RateLimited, Rejected, Transient
from flatyard.clouds.facts import Retry, Trouble
from flatyard.clouds.sim.door import Lost, Refused

_QUOTAS = (
    Trouble.QUOTA_INSTANCES,
    Trouble.QUOTA_VCPUS,
    Trouble.QUOTA_ADDRESSES,
    Trouble.QUOTA_NETWORKS,
    Trouble.QUOTA_LOAD_BALANCERS,
    Trouble.QUOTA_VOLUMES,
)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn refusals and broken connections into CloudErrors; `what` is the act, as in `creating web-1`."""
    try:
        yield
    except Refused as no:
        raise cloud_error(what, no) from None
    except Lost as lost:
        raise Transient(f"{what}: the reply was lost", why=str(lost)) from None


@contextmanager
def missing_is_fine() -> Iterator[None]:
    """Deleting what is not there is done."""
    try:
        yield
    except Refused as no:
        if no.trouble is not Trouble.NOT_FOUND:
            raise


def cloud_error(what: str, no: Refused) -> CloudError:
    """The error for one refusal."""
    code, words = no.refusal.code, f"{what}: {no.message} ({no.refusal.code})"
    if no.trouble is Trouble.RATE:
        return RateLimited(words, retry_after=no.retry_after, code=code)
    if no.trouble in _QUOTAS:
        return QuotaExceeded(words, code=code, next="free some, or have the account's limit raised")
    if no.trouble is Trouble.CAPACITY:
        return NoCapacity(words, code=code)
    if no.refusal.retry is Retry.NEVER:
        return Rejected(words, code=code)
    return Transient(words, code=code)
