"""What the services answer becomes the engine's words: codes, permissions, quotas, throttling."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import requests
from keystoneauth1 import exceptions as auth_errors
from openstack import exceptions as sdk_errors

from flatyard.clouds.cloud import CloudError, QuotaExceeded, RateLimited, Rejected, Transient
from flatyard.clouds.openstack.answers import NOT_FOUND, missing_is_fine, translate


def answer(
    status: int, body: object, headers: Mapping[str, str] | None = None, url: str = "https://n/v2.1/servers"
) -> CloudError:
    response = requests.Response()
    response.status_code = status
    response._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    response.headers.update({"x-openstack-request-id": "req-1", **(headers or {})})
    response.url = url
    response.request = requests.Request("POST", url).prepare()
    try:
        sdk_errors.raise_from_response(response)
    except sdk_errors.HttpException as problem:
        found = translate("creating web-1", problem)
        assert found is not None
        return found
    raise AssertionError("no error")


def test_every_404_has_the_one_code() -> None:
    nova = answer(404, {"itemNotFound": {"code": 404, "message": "Instance x could not be found."}})
    neutron = answer(404, {"NeutronError": {"type": "PortNotFound", "message": "Port x could not be found."}})
    glance = answer(404, "<html><body><h1>404</h1>No image found</body></html>")
    assert {nova.code, neutron.code, glance.code} == {NOT_FOUND}
    with missing_is_fine():
        raise nova


def test_a_quota_is_told_with_what_helps() -> None:
    nova = answer(403, {"forbidden": {"message": "Quota exceeded for cores: Requested 2, used 20 of 20"}})
    neutron = answer(
        409, {"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['router']."}}
    )
    assert isinstance(nova, QuotaExceeded) and isinstance(neutron, QuotaExceeded)
    assert "cores" in str(nova) and nova.code == "forbidden" and nova.request_id == "req-1"
    assert "auto_allocated_network" in neutron.next


def test_a_denied_permission_names_itself_and_the_resource() -> None:
    nova = answer(
        403,
        {"forbidden": {"message": "Policy doesn't allow os_compute_api:servers:create to be performed."}},
    )
    assert isinstance(nova, Rejected)
    assert "lacks os_compute_api:servers:create (POST /v2.1/servers)" in nova.what
    neutron = answer(
        403,
        {
            "NeutronError": {
                "type": "PolicyNotAuthorized",
                "message": "rule:create_router is disallowed by policy",
            }
        },
        url="https://n/v2.0/routers",
    )
    assert "lacks create_router (POST /v2.0/routers)" in neutron.what


def test_a_missing_access_rule_is_told_and_a_refused_login_is_told_apart() -> None:
    rule = answer(
        401, {"error": {"code": 401, "message": "The request you have made requires authentication."}}
    )
    assert "no access rule for POST /v2.1/servers" in rule.what
    login = answer(
        404,
        {
            "error": {
                "code": 404,
                "message": "Could not find Application Credential: 1.",
                "title": "Not Found",
            }
        },
        url="https://k/v3/auth/tokens",
    )
    assert isinstance(login, Rejected) and "the login was refused" in login.what


@pytest.mark.parametrize(("header", "wanted"), (("7", 7.0), ("", 0.0), ("soon", 0.0)))
def test_throttling_says_how_long(header: str, wanted: float) -> None:
    found = answer(429, {"overLimit": {"message": "too many"}}, {"Retry-After": header})
    assert isinstance(found, RateLimited) and found.retry_after == wanted


@pytest.mark.parametrize("status", (500, 502, 503, 504))
def test_what_may_go_away_is_transient(status: int) -> None:
    assert isinstance(answer(status, "<html>bad gateway</html>"), Transient)


def test_a_broken_connection_is_transient() -> None:
    for problem in (
        auth_errors.ConnectFailure("refused"),
        auth_errors.ConnectTimeout("slow"),
        requests.exceptions.ConnectionError("reset"),
    ):
        assert isinstance(translate("listing", problem), Transient)


def test_what_is_in_use_may_be_asked_again() -> None:
    found = answer(409, {"NeutronError": {"type": "NetworkInUse", "message": "in use"}})
    assert isinstance(found, Transient) and found.code == "NetworkInUse"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    assert translate("listing", ValueError("ours")) is None


def test_too_large_is_throttling_only_when_it_says_when_to_come_again() -> None:
    """Glance answers 413 to an image above its limit: to send it five times would not help."""
    large = answer(
        413, "<html><title>413</title>Denying attempt to upload image larger than 1073741824 bytes.</html>"
    )
    assert type(large) is Rejected and "larger than" in large.what
    busy = answer(413, {"overLimit": {"message": "rate-limited"}}, {"Retry-After": "7"})
    assert isinstance(busy, RateLimited) and busy.retry_after == 7


def test_what_a_driver_cannot_do_is_not_tried_for_ever() -> None:
    said = answer(
        501, {"faultcode": "Server", "faultstring": "Provider 'ovn' does not support a requested option"}
    )
    assert type(said) is Rejected and "does not support" in said.what
