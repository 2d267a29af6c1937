"""Who we are at Azure: found as the az command and azure-identity find it, and never printed.

In this order: a machine spec's own client (clientID, clientSecret), a service principal of the environment (secret or
certificate), workload identity (AZURE_FEDERATED_TOKEN_FILE), the az command's login, a managed identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from azure.identity import (
    AzureCliCredential,
    CertificateCredential,
    ChainedTokenCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from flatyard.base.errors import Refused
from flatyard.clouds.azure.settings import AzureSettings
from flatyard.model.meant import is_placeholder

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

CLI_SECONDS = 30


class _Authority(TypedDict):
    authority: str
    disable_instance_discovery: bool
    connection_verify: bool | str


def credential(place: AzureSettings, environment: Mapping[str, str]) -> TokenCredential:
    """The credential to use; whether it is accepted shows with the first token.

    Raises Refused for what cannot be one: no tenant's id, no certificate or token in the file.
    """
    try:
        return _found(place, environment)
    except (ValueError, OSError) as no:
        next = "look at AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_FEDERATED_TOKEN_FILE"
        raise Refused(
            "the Azure credentials cannot be used", why=str(no).partition("\n")[0], next=next
        ) from None


def _found(place: AzureSettings, environment: Mapping[str, str]) -> TokenCredential:
    found = [
        *_named(place),
        *_service_principal(place, environment),
        *_workload(place, environment),
    ]
    if found:
        return found[0]
    client = environment.get("AZURE_CLIENT_ID")
    return ChainedTokenCredential(
        AzureCliCredential(tenant_id=place.tenant, process_timeout=CLI_SECONDS),
        ManagedIdentityCredential(client_id=client) if client else ManagedIdentityCredential(),
    )


def _authority(place: AzureSettings) -> _Authority:
    return {
        "authority": place.authority,
        "disable_instance_discovery": place.own_endpoint,
        "connection_verify": place.ca or True,
    }


def _named(place: AzureSettings) -> Iterator[TokenCredential]:
    """The client that a machine spec names in plain words."""
    for machine in place.machines:
        client, secret = machine.client_id.value, machine.client_secret.value
        tenant = machine.tenant_id.value or place.tenant
        if client and secret and tenant and not is_placeholder(client):
            yield ClientSecretCredential(tenant, client, secret, **_authority(place))


def _service_principal(place: AzureSettings, environment: Mapping[str, str]) -> Iterator[TokenCredential]:
    client, secret = environment.get("AZURE_CLIENT_ID", ""), environment.get("AZURE_CLIENT_SECRET", "")
    certificate = environment.get("AZURE_CLIENT_CERTIFICATE_PATH", "")
    if client and secret and place.tenant:
        yield ClientSecretCredential(place.tenant, client, secret, **_authority(place))
    elif client and certificate and place.tenant:
        yield CertificateCredential(
            place.tenant,
            client,
            certificate,
            password=environment.get("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
            **_authority(place),
        )


def _workload(place: AzureSettings, environment: Mapping[str, str]) -> Iterator[TokenCredential]:
    client, token = environment.get("AZURE_CLIENT_ID", ""), environment.get("AZURE_FEDERATED_TOKEN_FILE", "")
    if client and token and place.tenant:
        Path(token).read_bytes()  # now, rather than in the midst of the first call
        yield WorkloadIdentityCredential(
            tenant_id=place.tenant, client_id=client, token_file_path=token, **_authority(place)
        )
