"""A rolling update keeps its bounds at every step and reaches its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard.engine.rollout import SetState, next_sizes, strategy, surplus_share


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most", "fewest"),
    [(3, 1, 0, 4, 3), (10, "25%", "25%", 13, 8), (3, 0, 0, 3, 2), (1, "10%", 0, 2, 1), (4, 0, "50%", 4, 2)],
)
def test_percentages_round_surge_up_and_unavailable_down(replicas, surge, unavailable, most, fewest):
    found = strategy(replicas, surge, unavailable)
    assert (found.most, found.fewest_available) == (most, fewest)


def test_a_first_set_gets_all_machines_at_once():
    assert next_sizes(strategy(3, 1, 0), SetState("new", 0, 0), []) == {"new": 3}


def test_machines_that_are_not_available_go_before_those_that_are():
    broken, good = SetState("broken", 2, 0), SetState("good", 3, 3)
    sizes = next_sizes(strategy(3, 0, 1), SetState("new", 0, 0), [broken, good])
    assert sizes["broken"] == 0


@given(
    replicas=st.integers(1, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    have=st.integers(0, 12),
    order=st.randoms(use_true_random=False),
)
def test_every_step_keeps_the_bounds_and_the_rollout_ends(replicas, surge, unavailable, have, order):
    """Machines become available in any order; a machine is never available before it is made."""
    bounds = strategy(replicas, surge, unavailable)
    old, new = SetState("old", have, have), SetState("new", 0, 0)
    start = have
    for _ in range(200):
        sizes = next_sizes(bounds, new, [old] if old.wanted else [])
        new = SetState("new", sizes["new"], min(new.available, sizes["new"]))
        left = sizes.get("old", 0)
        old = SetState("old", left, min(old.available, left))
        assert old.wanted + new.wanted <= max(bounds.most, start)
        assert old.available + new.available >= min(bounds.fewest_available, start)
        if old.wanted == 0 and new.available == replicas:
            return
        if new.available < new.wanted and order.random() < 0.7:
            new = SetState("new", new.wanted, new.available + 1)
    raise AssertionError("the rollout does not end")


@given(total=st.integers(0, 50), sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_a_scale_in_the_middle_shares_by_size_and_loses_nothing(total, sizes):
    sets = [SetState(str(i), n, n) for i, n in enumerate(sizes)]
    shared = surplus_share(total, sets)
    if sum(sizes):
        assert sum(shared.values()) == total
    assert all(n >= 0 for n in shared.values())
