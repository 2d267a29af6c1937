"""The HTTP client where it differs from the one in memory: what answers mean."""

from __future__ import annotations

import pytest

from flatyard.kube import client
from flatyard.kube.api import NotFound, Unreachable


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_kind_that_is_not_served_yet_is_waited_for(method):
    """Found on a real cluster: right after its definition a kind is "404 page not found", which failed the step."""
    said = client._json(b"404 page not found\n")
    assert isinstance(client._refused(method, 404, said), Unreachable)


def test_an_object_that_is_not_there_is_not_found():
    status = {"kind": "Status", "message": 'machines "x" not found', "reason": "NotFound", "code": 404}
    assert isinstance(client._refused("GET", 404, status), NotFound)
