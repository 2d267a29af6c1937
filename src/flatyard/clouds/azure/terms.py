"""Image offers with a purchase plan: their terms are shown, and accepted only where the user said so."""

from __future__ import annotations

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.facts import OFFERS_WITH_PLAN
from flatyard.clouds.azure.settings import ACCEPT_TERMS
from flatyard.clouds.cloud import Rejected
from flatyard.model.machines import AzureMachine

KIND = "virtualmachine"
_URN_PARTS = 4


def plan_of(machine: AzureMachine, image: str) -> tuple[str, str, str] | None:
    """Publisher, offer and plan that a machine from this image needs; None where the offer has no plan."""
    given = machine.image_plan
    if given is not None and given.name:
        return given.publisher, given.product, given.name
    parts = image.split(":")
    if len(parts) == _URN_PARTS and parts[1] in OFFERS_WITH_PLAN:
        return parts[0], parts[1], parts[2]
    return None


async def missing(account: Account, plan: tuple[str, str, str]) -> str:
    """Where the terms can be read, if nobody has accepted them in this subscription; empty otherwise."""
    api = account.clients.marketplace.marketplace_agreements
    shown = await account.read(f"reading the terms of {':'.join(plan)}", lambda: api.get(KIND, *plan))
    return "" if shown.accepted else shown.license_text_link or shown.marketplace_terms_link or "unknown"


def is_accepted(account: Account, plan: tuple[str, str, str]) -> bool:
    return ":".join(plan) in account.place.accepted


def command(plan: tuple[str, str, str]) -> str:
    publisher, offer, name = plan
    return f"az vm image terms accept --publisher {publisher} --offer {offer} --plan {name}"


async def ensure(account: Account, plan: tuple[str, str, str]) -> None:
    """Accept the terms if the Cluster says so. Raises Rejected, with the command, where nobody has."""
    key = ("terms", ":".join(plan))
    if key in account.kept:
        return
    link = await missing(account, plan)
    if link and not is_accepted(account, plan):
        raise Rejected(
            f"nobody has accepted the terms of {':'.join(plan)}; they are at {link}",
            code="MarketplacePurchaseEligibilityFailed",
            next=f"{command(plan)}, or annotate the Cluster with {ACCEPT_TERMS}: {':'.join(plan)}",
        )
    if link:
        await account.write(f"accepting the terms of {':'.join(plan)}", lambda: _accept(account, plan))
    account.kept[key] = True


def _accept(account: Account, plan: tuple[str, str, str]) -> None:
    api = account.clients.marketplace.marketplace_agreements
    shown = api.get(KIND, *plan)
    shown.accepted = True
    api.create(KIND, *plan, shown)
