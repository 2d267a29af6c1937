"""Storage accounts of the emulator of Azure and the blobs in them, with the real SDKs."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

from emulators.azure.clients import HERE, Azure, Json, inside, refusal
from emulators.azure.place import Arm, start
from emulators.stage import Stage

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def arm(new_stage: Callable[[str], Stage]) -> Iterator[Arm]:
    """The emulator with a blob server behind it."""
    stage = new_stage("blobs")
    try:
        yield start(stage, blobs=True)
    finally:
        stage.close()


def account(azure: Azure, name: str = "account1", **properties: object) -> Any:
    body: Json = {
        "location": HERE,
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": properties,
    }
    return azure.storage.storage_accounts.begin_create("rg", name, body).result()


def key(azure: Azure, name: str = "account1") -> str:
    return str(azure.storage.storage_accounts.list_keys("rg", name).as_dict()["keys"][0]["value"])


def blobs(azure: Azure, name: str = "account1") -> BlobServiceClient:
    endpoint = azure.storage.storage_accounts.get_properties("rg", name).primary_endpoints.blob
    return BlobServiceClient(
        endpoint, credential=key(azure, name), connection_verify=str(azure.arm.ca), retry_total=0
    )


@inside
def test_accepted(azure: Azure) -> None:
    azure.group()
    made = account(azure)
    assert made.provisioning_state == "Succeeded"
    assert [row["status"] for row in azure.arm.calls() if row["method"] == "PUT"] == [201, 202]


@inside
def test_account_name(azure: Azure) -> None:
    azure.group()
    azure.group("other")
    for name in ("ab", "Upper", "with-hyphen", "x" * 25):
        assert refusal(lambda name=name: account(azure, name))[1] == "AccountNameInvalid"  # type: ignore[misc]
    account(azure)
    body = {"location": HERE, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    create = azure.storage.storage_accounts.begin_create
    assert refusal(lambda: create("other", "account1", body))[:2] == (409, "StorageAccountAlreadyTaken")
    available = azure.storage.storage_accounts.check_name_availability({"name": "account1"})
    assert (available.name_available, available.reason) == (False, "AlreadyExists")


@inside
def test_account_keys(azure: Azure) -> None:
    azure.group()
    account(azure)
    azure.storage.blob_containers.create("rg", "account1", "stash", {})
    blob = blobs(azure).get_blob_client("stash", "join")
    blob.upload_blob(b"secret")
    context = ssl.create_default_context(cafile=str(azure.arm.ca))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(blob.url, context=context)
    account(azure, allowSharedKeyAccess=False)
    assert refusal(lambda: key(azure))[0] == 409


@inside
def test_a_signed_url_is_good_for_its_blob_and_its_time(azure: Azure) -> None:
    azure.group()
    account(azure)
    azure.storage.blob_containers.create("rg", "account1", "stash", {})
    blob = blobs(azure).get_blob_client("stash", "join")
    blob.upload_blob(b"secret")
    context = ssl.create_default_context(cafile=str(azure.arm.ca))

    def fetch(minutes: float, **signed: Any) -> bytes:
        query = generate_blob_sas(
            "account1",
            "stash",
            signed.get("name", "join"),
            account_key=key(azure),
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(minutes=minutes),
            protocol="https",
        )
        with urllib.request.urlopen(f"{blob.url}?{query}", context=context) as answer:
            return bytes(answer.read())

    assert fetch(5) == b"secret"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(-5)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(5, name="other")


@inside
def test_an_account_takes_its_blobs_with_it(azure: Azure) -> None:
    azure.group()
    account(azure)
    blobs(azure).create_container("stash")
    azure.resource.resource_groups.begin_delete("rg").result()
    azure.group()
    account(azure)
    assert list(blobs(azure).list_containers()) == []
