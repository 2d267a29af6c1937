"""Short-lived delivery of first-boot secrets: blobs in a storage account of the cluster's own, fetched by signed URL.

The account is made with the first secret, takes TLS 1.2 alone and shows nothing without a signature. It is signed with
the account's key, which this process keeps in memory only.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from azure.core.exceptions import HttpResponseError
from azure.mgmt.storage import models as sto
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, ContentSettings, generate_blob_sas

from flatyard.clouds.azure import networks
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import code_of, or_none
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.reading import items, text
from flatyard.clouds.cloud import CloudError, ClusterRef, Rejected, Stashed, StashForbidden
from flatyard.clouds.tags import cluster_tags

CONTAINER = "first-boot"
_SERVICE = "blobs"
_GONE = ("BlobNotFound", "ContainerNotFound", "AccountNotFound", "ResourceNotFound")
_DENIED = (
    "AuthorizationFailed",
    "RequestDisallowedByPolicy",
    "AuthorizationFailure",
    "KeyBasedAuthenticationNotPermitted",
)


def account_name(ref: ClusterRef) -> str:
    """Unique in the world: 24 small letters and digits."""
    return f"fy{hashlib.sha256(ref.id.encode()).hexdigest()[:22]}"


async def stash(account: Account, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
    """Put it and sign its URL. Raises StashForbidden where the account or policy lets us not."""
    try:
        service = await _stored(account, ref, key, blob)
    except Rejected as no:
        account.kept.pop((_SERVICE, account_name(ref)), None)  # its key may be another one meanwhile
        if no.code not in _DENIED:
            raise
        raise _forbidden(no) from None
    at = service.get_blob_client(CONTAINER, key)
    until = account.world.now() + timedelta(seconds=min(ttl_seconds, FACTS.stash.longest_ttl))
    signature = generate_blob_sas(
        account_name=str(service.account_name),
        container_name=CONTAINER,
        blob_name=key,
        account_key=_key_of(service),
        permission=BlobSasPermissions(read=True),
        expiry=until,
        protocol="https" if at.url.startswith("https://") else None,
    )
    return Stashed(key, f"{at.url}?{signature}")


async def unstash(account: Account, ref: ClusterRef, key: str) -> None:
    """Delete it; a missing one is fine."""
    service = await _service(account, ref, make=False)
    if service is not None:
        await account.write(f"deleting {key}", lambda: _delete(service, key))


async def _stored(account: Account, ref: ClusterRef, key: str, blob: bytes) -> BlobServiceClient:
    """Where it was put. An account that takes no keys says so only when one is used."""
    service = await _service(account, ref, make=True)
    assert service is not None
    kind = ContentSettings(content_type="application/vnd.coreos.ignition+json")
    await account.write(f"stashing {key}", lambda: _put(service, key, blob, kind))
    return service


def _forbidden(no: CloudError) -> StashForbidden:
    return StashForbidden(
        str(no.what),
        code=no.code,
        why=no.why,
        next=no.next or "allow storage accounts with keys in this group, or give another one",
    )


def _put(service: BlobServiceClient, key: str, blob: bytes, kind: ContentSettings) -> None:
    container = service.get_container_client(CONTAINER)
    try:
        container.upload_blob(key, blob, overwrite=True, content_settings=kind)
    except HttpResponseError as problem:
        if code_of(problem) != "ContainerNotFound":
            raise
        _make_container(service)
        container.upload_blob(key, blob, overwrite=True, content_settings=kind)


def _make_container(service: BlobServiceClient) -> None:
    try:
        service.create_container(CONTAINER)
    except HttpResponseError as problem:
        if code_of(problem) != "ContainerAlreadyExists":
            raise


def _delete(service: BlobServiceClient, key: str) -> None:
    try:
        service.get_blob_client(CONTAINER, key).delete_blob()
    except HttpResponseError as problem:
        if code_of(problem) not in _GONE:
            raise


def _key_of(service: BlobServiceClient) -> str:
    return str(service.credential.account_key)


async def _service(account: Account, ref: ClusterRef, *, make: bool) -> BlobServiceClient | None:
    """The blobs of the cluster's own account, which is made when there is none and `make` says so."""
    kept = account.kept.get((_SERVICE, account_name(ref)))
    if isinstance(kept, BlobServiceClient):
        return kept
    group, name = account.place.group_for(ref), account_name(ref)
    api = account.clients.storage.storage_accounts
    shown = await account.read(
        f"looking for storage account {name}", lambda: or_none(lambda: api.get_properties(group, name))
    )
    if shown is None and not make:
        return None
    if shown is None:
        await networks.ensure_group(account, ref)
        shown = await account.write(
            f"creating storage account {name}",
            lambda: api.begin_create(group, name, _body(account, ref)).result(),
        )
    keys = await account.read(
        f"reading the key of storage account {name}", lambda: api.list_keys(group, name)
    )
    url = text(shown, "properties", "primaryEndpoints", "blob").rstrip("/")
    service = BlobServiceClient(
        url,
        credential={"account_name": name, "account_key": text(items(keys, "keys")[0], "value")},
        retry_total=0,
        connection_verify=account.clients.verify,
        logging_enable=False,
    )
    account.kept[_SERVICE, account_name(ref)] = service
    return service


def _body(account: Account, ref: ClusterRef) -> sto.StorageAccountCreateParameters:
    return sto.StorageAccountCreateParameters(
        sku=sto.Sku(name="Standard_LRS"),
        kind="StorageV2",
        location=account.place.location,
        tags=cluster_tags(ref, FACTS.tags),
        properties=sto.StorageAccountPropertiesCreateParameters(
            enable_https_traffic_only=True,
            minimum_tls_version="TLS1_2",
            allow_blob_public_access=False,
            allow_shared_key_access=True,
        ),
    )
