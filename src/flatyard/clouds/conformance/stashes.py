"""First-boot secrets: fetched by URL for a while, then gone; nowhere else to be read.

A cloud whose traits say that it has no object store is held to refusing, and to saying what to do instead.
"""

from __future__ import annotations

from flatyard.clouds.cloud import StashForbidden
from flatyard.clouds.conformance.bench import Bench, Check, emptied, owned
from flatyard.model.traits import StashScheme

SECRET = b"c0nf0rmance-secret"


async def _has_none(bench: Bench) -> bool:
    """Whether there is no object store; the adapter then says so, and what to do."""
    if bench.cloud.traits.stash is not StashScheme.NONE:
        await bench.cloud.ensure_network(bench.ref, bench.cluster)
        return False
    try:
        await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    except StashForbidden as no:
        assert no.next, "the refusal must say what to do instead"
        assert SECRET.decode() not in repr(no) + str(no), "the refusal tells the secret"
        await bench.cloud.unstash(bench.ref, "machine-1")
        return True
    raise AssertionError("the traits say that there is no stash, and stash worked")


async def a_stash_ends(bench: Bench) -> None:
    if await _has_none(bench):
        return
    kept = await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    short = await bench.cloud.stash(bench.ref, "machine-2", SECRET, 60)
    for stashed in (kept, short):
        assert await bench.get(stashed.url) == 200, f"{stashed.key} cannot be fetched"
    await bench.wait(120)
    assert await bench.get(short.url) == 403, "the URL works after its time"
    assert await bench.get(kept.url) == 200, "the other URL ended with it"
    await emptied(bench)
    assert not await owned(bench), "the bucket is left over"


async def a_changed_url_fetches_nothing(bench: Bench) -> None:
    if await _has_none(bench):
        return
    kept = await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    if bench.cloud.traits.stash is StashScheme.HTTPS:  # others ask for the machine's own credentials
        last = "0" if kept.url[-1] != "0" else "1"
        assert await bench.get(kept.url[:-1] + last) == 403, "a changed signature must not work"
    assert await bench.get(kept.url.partition("?")[0]) in (401, 403, 404, 409), "it works without a signature"
    await emptied(bench)


async def an_unstashed_secret_is_gone(bench: Bench) -> None:
    if await _has_none(bench):
        return
    kept = await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    other = await bench.cloud.stash(bench.ref, "machine-2", SECRET, 900)
    await bench.restarted().unstash(bench.ref, "machine-1")
    await bench.cloud.unstash(bench.ref, "machine-1")
    assert await bench.get(kept.url) in (403, 404), "the URL works after unstash"
    assert await bench.get(other.url) == 200, "unstash took another machine's secret"
    await emptied(bench)


async def stashing_again_replaces(bench: Bench) -> None:
    if await _has_none(bench):
        return
    await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    before = await owned(bench)
    again = await bench.restarted().stash(bench.ref, "machine-1", SECRET * 2, 900)
    assert await bench.get(again.url) == 200, "what was stashed again cannot be fetched"
    assert len(await owned(bench)) == len(before), "stashing again made something besides"
    await emptied(bench)


async def a_forgotten_secret_goes_with_its_cluster(bench: Bench) -> None:
    if await _has_none(bench):
        return
    kept = await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    assert await owned(bench), "a sweep must find what holds the secret"
    await emptied(bench)
    assert await bench.get(kept.url) in (403, 404), "the cluster is gone, and its secret can be fetched"
    assert not await owned(bench), "the bucket is left over"


async def a_secret_is_told_to_nobody(bench: Bench) -> None:
    if await _has_none(bench):
        return
    kept = await bench.cloud.stash(bench.ref, "machine-1", SECRET, 900)
    told = [kept.key, kept.url, repr(await owned(bench)), repr(await bench.cloud.machines(bench.ref))]
    assert not any(SECRET.decode() in text for text in told), "the secret shows in a name, a URL or a list"
    query = kept.url.partition("?")[2]
    signed = bench.cloud.traits.stash is StashScheme.HTTPS
    assert query or not signed, f"{kept.key} can be fetched without a signature"
    assert not (query and any(query in text for text in told[2:])), "a list shows the signed URL"
    await emptied(bench)


CHECKS: tuple[Check, ...] = (
    a_stash_ends,
    a_changed_url_fetches_nothing,
    an_unstashed_secret_is_gone,
    stashing_again_replaces,
    a_forgotten_secret_goes_with_its_cluster,
    a_secret_is_told_to_nobody,
)
