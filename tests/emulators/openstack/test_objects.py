"""The small Swift keeps Swift's rules: tokens, temporary URLs, ends, containers that are not empty."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from emulators.openstack.objects import Objects

TOKEN = {"x-auth-token": "t"}
BOX, THING = "/v1/AUTH_p/box", "/v1/AUTH_p/box/first/boot"


@pytest.fixture
def store() -> Objects:
    made = Objects(0)
    made.answer("PUT", BOX, {**TOKEN, "x-container-meta-temp-url-key": "key"}, b"")
    made.answer("PUT", THING, TOKEN, b"secret")
    return made


def url(store: Objects, *, key: str = "key", method: str = "GET", seconds: int = 60) -> str:
    expires = int(store.now()) + seconds
    digest = hmac.new(key.encode(), f"{method}\n{expires}\n{THING}".encode(), hashlib.sha256).hexdigest()
    return f"{THING}?temp_url_expires={expires}&temp_url_sig={digest}"


def test_a_token_is_wanted(store: Objects) -> None:
    assert store.answer("GET", THING, {}, b"")[0] == 401
    assert store.answer("GET", THING, TOKEN, b"")[::2] == (200, b"secret")


def test_a_temporary_url_needs_none(store: Objects) -> None:
    assert store.answer("GET", url(store), {}, b"")[::2] == (200, b"secret")


@pytest.mark.parametrize("wrong", ({"key": "other"}, {"method": "PUT"}, {"seconds": -1}))
def test_a_wrong_one_is_refused(store: Objects, wrong: dict[str, object]) -> None:
    assert store.answer("GET", url(store, **wrong), {}, b"")[0] == 401


def test_it_ends(store: Objects) -> None:
    good = url(store)
    store.ahead += 61
    assert store.answer("GET", good, {}, b"")[0] == 401


def test_an_object_ends_by_itself(store: Objects) -> None:
    store.answer("PUT", THING, {**TOKEN, "x-delete-after": "30"}, b"short")
    store.ahead += 31
    assert store.answer("GET", THING, TOKEN, b"")[0] == 404


def test_a_container_with_objects_stays(store: Objects) -> None:
    assert store.answer("DELETE", BOX, TOKEN, b"")[0] == 409
    assert store.answer("DELETE", THING, TOKEN, b"")[0] == 204
    assert store.answer("DELETE", BOX, TOKEN, b"")[0] == 204
    assert store.answer("HEAD", BOX, TOKEN, b"")[0] == 404


def test_a_temporary_url_for_get_is_good_for_head(store: Objects) -> None:
    assert store.answer("HEAD", url(store), {}, b"")[0] == 200
    assert store.answer("DELETE", url(store), {}, b"")[0] == 401


def test_the_gateway_knows_the_accounts_keys_and_an_old_digest_only() -> None:
    store = Objects(0, gateway=True)
    store.answer("PUT", BOX, {**TOKEN, "x-container-meta-temp-url-key": "key"}, b"")
    store.answer("PUT", THING, TOKEN, b"secret")
    expires = int(store.now()) + 60

    def status(key: str, digest: str) -> int:
        text = f"GET\n{expires}\n{THING}".encode()
        signature = hmac.new(key.encode(), text, digest).hexdigest()
        return store.answer("GET", f"{THING}?temp_url_expires={expires}&temp_url_sig={signature}", {}, b"")[0]

    assert (status("key", "sha1"), status("key", "sha256")) == (401, 401)
    store.answer("POST", "/v1/AUTH_p", {**TOKEN, "x-account-meta-temp-url-key-2": "other"}, b"")
    assert store.answer("HEAD", "/v1/AUTH_p", TOKEN, b"")[1] == {"x-account-meta-temp-url-key-2": "other"}
    assert (status("other", "sha1"), status("other", "sha256")) == (200, 401)


def test_swift_takes_the_old_digest_no_more(store: Objects) -> None:
    expires = int(store.now()) + 60
    signature = hmac.new(b"key", f"GET\n{expires}\n{THING}".encode(), hashlib.sha1).hexdigest()
    target = f"{THING}?temp_url_expires={expires}&temp_url_sig={signature}"
    assert store.answer("GET", target, {}, b"")[0] == 401
