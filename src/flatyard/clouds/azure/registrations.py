"""Whether the subscription is registered for what a cluster is made of: a new one is registered for next to nothing.

The portal, the az command and Terraform register what they meet; the API itself refuses with
MissingSubscriptionRegistration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.reading import text

_MISSING = ("notregistered", "unregistered", "unregistering")


def needed(account: Account) -> Iterator[str]:
    yield from ("Microsoft.Compute", "Microsoft.Network", "Microsoft.Storage")
    if account.place.external and not account.place.identity:
        yield "Microsoft.ManagedIdentity"


async def problems(account: Account) -> list[Problem]:
    """One for each namespace that somebody has to register first."""
    names = list(needed(account))
    states = await asyncio.gather(*(_state(account, name) for name in names))
    return [_problem(name) for name, state in zip(names, states, strict=True) if state in _MISSING]


async def _state(account: Account, name: str) -> str:
    api = account.clients.resource.providers
    shown = await account.read(f"asking whether {name} is registered", lambda: api.get(name))
    return text(shown, "registrationState").lower()


def _problem(name: str) -> Problem:
    what = f"the subscription is not registered for {name}"
    return Problem(
        Severity.ERROR, None, "spec.cloud.azure", what, f"az provider register --namespace {name} --wait"
    )
