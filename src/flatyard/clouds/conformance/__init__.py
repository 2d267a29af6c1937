"""What every cloud's adapter must do, as checks that run on a simulator, an emulator or the real thing.

A test brings a `Bench` for its cloud and awaits each of `CHECKS`. A check raises AssertionError with a sentence.
A bench whose cloud cannot show something says so in `cannot`, with the reason; at most a tenth of the checks. What a
cloud has not by its traits (an object store, zones) is no reason: the check then holds the adapter to saying so.
"""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.clouds.conformance import (
    booting,
    create,
    images,
    machines,
    many,
    networks,
    preflight,
    stashes,
    sweeps,
    troubles,
    user_data,
)
from flatyard.clouds.conformance.bench import (
    GONE,
    LEAVING,
    PLANTS,
    Bench,
    Check,
    Planted,
    emptied,
    living,
    request,
)
from flatyard.clouds.conformance.create import (
    a_lost_reply_makes_one,
    a_new_process_adopts_by_tag,
    create_makes_what_was_asked_for,
    create_twice_makes_one,
    the_next_attempt_is_another_instance,
)
from flatyard.clouds.conformance.sweeps import sweep_is_empty_after_deleting

CHECKS: tuple[Check, ...] = (
    *preflight.CHECKS,
    *images.CHECKS,
    *networks.CHECKS,
    *create.CHECKS,
    *troubles.CHECKS,
    *user_data.CHECKS,
    *booting.CHECKS,
    *machines.CHECKS,
    *many.CHECKS,
    *stashes.CHECKS,
    *sweeps.CHECKS,
)
NAMES: tuple[str, ...] = tuple(check.__name__ for check in CHECKS)
"""The checks' names: they are the test ids of every cloud, and the rows of docs/clouds.md."""
MAY_SKIP = len(CHECKS) // 10
"""How many checks a bench may leave out."""


def excess(cannot: Mapping[str, str]) -> str:
    """What is wrong with a bench's `cannot`, empty when nothing is: an unknown check, no reason, too many."""
    unknown = [name for name in cannot if name not in NAMES]
    if unknown:
        return f"there is no check {', '.join(unknown)}"
    mute = [name for name, reason in cannot.items() if not reason]
    if mute:
        return f"no reason is given for {', '.join(mute)}"
    if len(cannot) > MAY_SKIP:
        return f"{len(cannot)} of {len(CHECKS)} checks are left out, and {MAY_SKIP} may be"
    return ""


__all__ = [
    "CHECKS",
    "GONE",
    "LEAVING",
    "MAY_SKIP",
    "NAMES",
    "PLANTS",
    "Bench",
    "Check",
    "Planted",
    "a_lost_reply_makes_one",
    "a_new_process_adopts_by_tag",
    "create_makes_what_was_asked_for",
    "create_twice_makes_one",
    "emptied",
    "excess",
    "living",
    "request",
    "sweep_is_empty_after_deleting",
    "the_next_attempt_is_another_instance",
]
