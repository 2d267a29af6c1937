"""First-boot secrets where an organisation does not let storage accounts be used as flatyard uses them."""

from __future__ import annotations

import asyncio
import json
from typing import NoReturn

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from clouds.azure.replies import Reply
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.azure import stash
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.client import AzureClients
from flatyard.clouds.azure.credentials import credential
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.clouds.cloud import ClusterRef, Rejected, StashForbidden

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
PLACE = AzureSettings(location="westeurope", subscription="SUB", tenant="TEN")


def account() -> Account:
    clients = AzureClients(PLACE, credential(PLACE, {}))
    made = Account(PLACE, clients, SeededWorld(1, lambda: 0.0, SIMULATED_EPOCH))
    key = {"account_name": "fy", "account_key": "a2V5"}
    made.kept["blobs", stash.account_name(REF)] = BlobServiceClient("https://fy.example", credential=key)
    return made


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("KeyBasedAuthenticationNotPermitted", StashForbidden),
        ("AuthorizationFailure", StashForbidden),
        ("AuthenticationFailed", Rejected),
    ],
)
def test_an_account_that_takes_no_keys_or_no_network_is_told_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, code: str, kind: type[Exception]
) -> None:
    """A policy of the subscription may switch keys off while the account is made: only a blob's answer says so."""

    def put(*_: object) -> NoReturn:
        body = json.dumps({"error": {"code": code, "message": "words"}})
        raise HttpResponseError(response=Reply(403, body))  # type: ignore[arg-type]

    monkeypatch.setattr(stash, "_put", put)
    ours = account()

    async def main() -> None:
        try:
            await stash.stash(ours, REF, "first-boot/x-1", b"secret", 900)
        finally:
            await ours.calls.close()

    with pytest.raises(kind):
        asyncio.run(main())
    assert not ours.kept, "a key that is not taken is kept"
