"""Temporary URLs on stores that take them otherwise: Swift, Ceph's gateway, one that takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
import requests
from keystoneauth1 import exceptions as auth_errors

from emulators.openstack.objects import Objects
from flatyard.base.errors import Severity
from flatyard.base.world import RealWorld
from flatyard.clouds.cloud import ClusterRef, StashForbidden
from flatyard.clouds.openstack import stash
from flatyard.clouds.openstack.answers import translate
from flatyard.clouds.openstack.client import Way
from flatyard.clouds.openstack.preflight import _secrets

T = TypeVar("T")
REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
ACCOUNT = "/swift/v1"


class Store(Objects):
    """Below a prefix and without an account in its address, as Jetstream2's is. `verify`: as a session's."""

    verify: bool | str = True

    def request(
        self,
        url: str,
        method: str,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        authenticated: bool = True,
        raise_exc: bool = True,
    ) -> requests.Response:
        words = {k.lower(): v for k, v in (headers or {}).items()}
        if authenticated:
            words["x-auth-token"] = "t"
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        status, out, body = self.answer(method, target, words, data or b"")
        found = requests.Response()
        found.status_code, found._content, found.url = status, body, url
        found.headers.update(out)
        found.request = requests.Request(method, url).prepare()
        if raise_exc and status >= 400:
            raise auth_errors.from_response(found, method, url)
        return found


class Asks:
    """As much of a client as stashing wants."""

    def __init__(self, store: Store) -> None:
        self.signs = None
        self.world = RealWorld()
        self.sdk = SimpleNamespace(
            session=store, object_store=SimpleNamespace(get_endpoint=lambda: f"https://s:8001{ACCOUNT}")
        )

    async def log_in(self) -> None: ...

    def has(self, service: str) -> bool:
        return service == stash.SERVICE

    def lock(self, key: str) -> asyncio.Lock:
        return asyncio.Lock()

    async def read(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except auth_errors.HttpError as problem:
            raise translate(what, problem) or problem from None


def stashed(store: Store, client: Asks | None = None) -> str:
    return asyncio.run(stash.put(client or Asks(store), REF, "m-1", b"secret", 900)).url  # type: ignore[arg-type]


def fetched(store: Store, url: str) -> int:
    return store.request(url, "GET", authenticated=False, raise_exc=False).status_code


def test_swift_signs_with_the_containers_key() -> None:
    store = Store(0)
    assert fetched(store, stashed(store)) == 200
    assert store.accounts == {}, "the project's keys are nobody's business"


def test_ceph_signs_with_the_projects_key() -> None:
    store = Store(0, gateway=True)
    assert fetched(store, stashed(store)) == 200
    assert list(store.accounts[ACCOUNT]) == ["x-account-meta-temp-url-key-2"]


def test_a_key_that_the_project_has_is_used_and_kept() -> None:
    store = Store(0, gateway=True)
    store.accounts[ACCOUNT] = {"x-account-meta-temp-url-key": "theirs"}
    assert fetched(store, stashed(store)) == 200
    assert store.accounts[ACCOUNT] == {"x-account-meta-temp-url-key": "theirs"}


def test_the_way_is_found_once() -> None:
    store = Store(0, gateway=True)
    client = Asks(store)
    first, second = stashed(store, client), stashed(store, client)
    assert client.signs == Way(True, "sha1")
    assert fetched(store, first) == fetched(store, second) == 200


def test_a_store_that_takes_none_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(0)
    monkeypatch.setattr(store, "_signed", lambda *_: False)
    with pytest.raises(StashForbidden, match="no temporary URLs"):
        stashed(store)
    assert store.objects == {}


def test_a_store_that_is_closed_says_what_to_do_and_holds_up_no_sweep() -> None:
    store = Store(0)
    store.closed = True
    with pytest.raises(StashForbidden) as said:
        stashed(store)
    assert "access rules" in said.value.next
    assert "refuses the credential" in asyncio.run(stash.refusal(Asks(store)))  # type: ignore[arg-type]
    assert asyncio.run(stash.owned(Asks(store), REF)) == ()  # type: ignore[arg-type]


def test_a_private_authority_is_warned_of() -> None:
    """Ignition fetches with what Flatcar trusts, not with the cacert of somebody's clouds.yaml."""
    store = Store(0)
    store.verify = "/etc/site/ca.pem"
    (said,) = asyncio.run(_secrets(Asks(store)))  # type: ignore[arg-type]
    assert said.severity is Severity.WARNING and "/etc/site/ca.pem" in said.what
    store.verify = True
    assert asyncio.run(_secrets(Asks(store))) == []  # type: ignore[arg-type]
