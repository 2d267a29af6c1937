"""A pod network is divided so that every wanted node gets a part of it."""

from __future__ import annotations

import pytest

from flatyard.base.errors import Refused
from flatyard.engine.pod_network import most_pods, node_mask


@pytest.mark.parametrize(
    ("pods", "nodes", "mask", "most"),
    [
        ("10.244.0.0/16", 4, 24, None),
        ("10.244.0.0/16", 256, 24, None),
        ("10.244.0.0/16", 257, 25, 64),
        ("10.244.0.0/16", 1001, 26, 32),
        ("10.240.0.0/13", 1001, 24, None),
        ("192.168.0.0/24", 1, 24, None),
    ],
)
def test_parts_get_smaller_only_when_there_are_more_nodes_than_parts(pods, nodes, mask, most):
    assert node_mask(pods, nodes) == mask
    assert most_pods(mask) == most


def test_a_network_that_cannot_hold_the_nodes_is_refused_with_the_size_that_can():
    with pytest.raises(Refused) as caught:
        node_mask("10.244.0.0/20", 1000)
    assert "even parts of /28 are only 256" in caught.value.why
    assert "at least /18" in caught.value.next
