"""The blob server behind the storage accounts: what the management plane says of containers happens there too."""

from __future__ import annotations

import json
import pathlib

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

ENDPOINT = "https://127.0.0.1:10100"


class Accounts:
    """Storage accounts and their keys; the blob server reads them from a file at each request."""

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        self.folder = folder
        self.keys: dict[str, str] = {}
        self._save()

    def add(self, name: str, key: str) -> None:
        self.keys[name] = key
        self._save()

    def remove(self, name: str) -> None:
        """The account and what is in it."""
        if name in self.keys:
            client = self._client(name)
            if client:
                for container in client.list_containers():
                    client.delete_container(container.name)
            del self.keys[name]
            self._save()

    def clear(self) -> None:
        for name in list(self.keys):
            self.remove(name)

    def make(self, account: str, container: str) -> None:
        client = self._client(account)
        if client:
            try:
                client.create_container(container)
            except ResourceExistsError:
                return

    def drop(self, account: str, container: str) -> None:
        client = self._client(account)
        if client:
            try:
                client.delete_container(container)
            except ResourceNotFoundError:
                return

    def _client(self, name: str) -> BlobServiceClient | None:
        """None on a stage without a blob server, or once the account is gone."""
        if self.folder is None or name not in self.keys or not (self.folder / "blobs.log").exists():
            return None
        return BlobServiceClient(
            f"{ENDPOINT}/{name}",
            credential=self.keys[name],
            connection_verify=str(self.folder / "ca.pem"),
            retry_total=0,
        )

    def _save(self) -> None:
        if self.folder is not None:
            made = self.folder / "accounts.new"
            made.write_text(json.dumps(self.keys))
            made.replace(self.folder / "accounts.json")
