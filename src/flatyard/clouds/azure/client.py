"""Azure's SDK clients for one subscription: made when first asked for, with the SDK's own retries switched off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, TypeVar

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from flatyard.clouds.azure.settings import AzureSettings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.mgmt.authorization import AuthorizationManagementClient
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.marketplaceordering import MarketplaceOrderingAgreements
    from azure.mgmt.msi import ManagedServiceIdentityClient
    from azure.mgmt.network import NetworkManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient
    from azure.mgmt.storage import StorageManagementClient

C = TypeVar("C")
for _name in ("azure", "msal"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False  # what matters is in the errors, in the engine's words
CONNECT_SECONDS, READ_SECONDS = 10, 90
POLL_SECONDS = 1.0
"""Between two looks at an operation of which Azure does not say when to look again."""
CONNECTIONS = 32


class Options(TypedDict):
    """What every client is told."""

    base_url: str
    credential_scopes: list[str]
    transport: RequestsTransport
    retry_total: int
    logging_enable: bool
    polling_interval: float
    user_agent: str


class AzureClients:
    """Importing the SDK takes seconds, so each client is made at the first call that needs it, in its thread."""

    def __init__(self, place: AzureSettings, credential: TokenCredential) -> None:
        self.place = place
        self.credential = credential
        self.poll = POLL_SECONDS
        self._made: dict[str, object] = {}
        self._lock = threading.RLock()
        self.session = requests.Session()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
        self.session.verify = place.ca or True

    @property
    def verify(self) -> bool | str:
        return self.place.ca or True

    def transport(self) -> RequestsTransport:
        """All clients share connections."""
        return RequestsTransport(
            session=self.session,
            session_owner=False,
            connection_verify=self.verify,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
        )

    def options(self) -> Options:
        return {
            "base_url": self.place.manager,
            "credential_scopes": [f"{self.place.manager}/.default"],
            "transport": self.transport(),
            "retry_total": 0,
            "logging_enable": False,
            "polling_interval": self.poll,
            "user_agent": "flatyard",
        }

    def _once(self, name: str, make: Callable[[], C]) -> C:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            found: C = self._made[name]  # type: ignore[assignment]
            return found

    @property
    def compute(self) -> ComputeManagementClient:
        def make() -> ComputeManagementClient:
            from azure.mgmt.compute import ComputeManagementClient

            return ComputeManagementClient(self.credential, self.place.subscription, **self.options())

        return self._once("compute", make)

    @property
    def network(self) -> NetworkManagementClient:
        def make() -> NetworkManagementClient:
            from azure.mgmt.network import NetworkManagementClient

            return NetworkManagementClient(self.credential, self.place.subscription, **self.options())

        return self._once("network", make)

    @property
    def resource(self) -> ResourceManagementClient:
        def make() -> ResourceManagementClient:
            from azure.mgmt.resource.resources import ResourceManagementClient

            return ResourceManagementClient(self.credential, self.place.subscription, **self.options())

        return self._once("resource", make)

    @property
    def storage(self) -> StorageManagementClient:
        def make() -> StorageManagementClient:
            from azure.mgmt.storage import StorageManagementClient

            return StorageManagementClient(self.credential, self.place.subscription, **self.options())

        return self._once("storage", make)

    @property
    def identity(self) -> ManagedServiceIdentityClient:
        def make() -> ManagedServiceIdentityClient:
            from azure.mgmt.msi import ManagedServiceIdentityClient

            return ManagedServiceIdentityClient(self.credential, self.place.subscription, **self.options())

        return self._once("identity", make)

    @property
    def authorization(self) -> AuthorizationManagementClient:
        def make() -> AuthorizationManagementClient:
            from azure.mgmt.authorization import AuthorizationManagementClient

            return AuthorizationManagementClient(self.credential, self.place.subscription, **self.options())

        return self._once("authorization", make)

    @property
    def marketplace(self) -> MarketplaceOrderingAgreements:
        def make() -> MarketplaceOrderingAgreements:
            from azure.mgmt.marketplaceordering import MarketplaceOrderingAgreements

            return MarketplaceOrderingAgreements(self.credential, self.place.subscription, **self.options())

        return self._once("marketplace", make)

    def close(self) -> None:
        self.session.close()
