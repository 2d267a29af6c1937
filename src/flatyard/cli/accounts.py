"""An account that a command asks itself: its waits are told in sentences, and its failures end with what to do."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flatyard.cli.talk import Talk
from flatyard.clouds.cloud import CloudError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

AGAIN = "the same command again; docs/clouds.md says what must be reached from here"


@contextmanager
def asked(talk: Talk) -> Iterator[None]:
    """While a cloud is asked. Raises what the body raises; a CloudError that may pass has a next command."""
    _hush(talk)
    try:
        yield
    except CloudError as no:
        if no.retry and not no.next:
            no.next = AGAIN
        raise


def _hush(talk: Talk) -> None:
    """What an SDK writes to the log would stand between our lines, in words that nobody here has weighed.

    What it warns of is about the user's own files, and is said without the place in the SDK that says it.
    """
    if not talk.debug:
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.showwarning = lambda message, *_, **__: talk.say(f"warning: {message}")
    try:
        from stamina.instrumentation import set_on_retry_hooks
    except ModuleNotFoundError:  # no SDK is installed: nothing will be asked
        return

    def tell(details: RetryDetails) -> None:
        no = details.caused_by
        what = no.what if isinstance(no, CloudError) else type(no).__name__
        talk.say(f"{what}; trying again in {details.wait_for:.0f} s")

    set_on_retry_hooks([tell])
