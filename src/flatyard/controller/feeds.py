"""The hashes of Kubernetes extensions as a feed on the web tells them: the bakery's, or the user's own mirror."""

from __future__ import annotations

import asyncio
import os

import httpx2

from flatyard.base.errors import Failed, Refused
from flatyard.sysext.feed import Feed, parse_feed
from flatyard.sysext.layout import BAKERY, sums_url

VARIABLE = "FLATYARD_FEED"
KEPT = 600.0
"""Seconds for which an answer holds; a version that came later is asked for after that."""
SECONDS = 30.0
SIZE_LIMIT = 8 << 20
"""Bytes of a SHA256SUMS; the bakery's has some hundred kilobytes."""


def base_of_environment() -> str:
    """Where extensions are fetched unless the cluster's file says: `FLATYARD_FEED`, or else the bakery.

    Raises Refused for what is no address.
    """
    base = os.environ.get(VARIABLE, "").rstrip("/") or BAKERY
    if not base.startswith(("https://", "http://")):
        raise Refused(
            f"{VARIABLE}={base} is no address of a feed",
            next=f"{VARIABLE}=https://HOST/PATH, below which kubernetes/SHA256SUMS is; without it, {BAKERY}",
        )
    return base


class HttpFeeds:
    """`engine.context.Feeds` of `BASE/kubernetes/SHA256SUMS`, which is read anew now and then.

    `base` is the feed of a cluster whose file names none.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._known: dict[str, tuple[float, Feed]] = {}
        self._asking = asyncio.Lock()

    async def feed(self, base: str) -> Feed:
        """The hashes as they are now. Raises Failed where nobody tells them, InvalidInput for what is no SHA256SUMS."""
        base, loop = base or self._base, asyncio.get_running_loop()
        async with self._asking:
            until, known = self._known.get(base, (0.0, None))
            if known is None or loop.time() >= until:
                url = sums_url(base)
                known = parse_feed(await _text(url), url, base)
                self._known[base] = (loop.time() + KEPT, known)
            return known


async def _text(url: str) -> str:
    try:
        async with httpx2.AsyncClient(timeout=SECONDS, follow_redirects=True) as client:
            answer = await client.get(url, headers={"User-Agent": "flatyard"})
    except httpx2.HTTPError as error:
        raise _silent(url, str(error) or type(error).__name__) from error
    if answer.status_code != 200:
        raise _silent(url, f"it answers {answer.status_code}")
    if len(answer.content) > SIZE_LIMIT:
        raise _silent(url, f"its {len(answer.content)} bytes are no list of hashes")
    return answer.text


def _silent(url: str, why: str) -> Failed:
    return Failed(
        f"the feed of Kubernetes extensions, {url}, cannot be read",
        why=why,
        next=f"look at it: curl -L {url}; spec.kubernetes.feed, or {VARIABLE}, names a mirror",
    )
