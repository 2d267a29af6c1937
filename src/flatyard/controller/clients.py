"""Clients of real clusters' APIs, with certificates that are made when needed and live for a short time."""

from __future__ import annotations

from datetime import datetime, timedelta

from flatyard.base.world import World
from flatyard.clouds.cloud import Endpoint
from flatyard.kube.api import Api
from flatyard.kube.client import Access, HttpApi
from flatyard.kube.etcd import EtcdHost
from flatyard.kube.etcd_client import HttpEtcd, Straight, Through
from flatyard.pki import ClusterSecrets, Kubeconfig

LIFETIME = timedelta(hours=8)
ETCD_LIFETIME = timedelta(minutes=30)
RENEW = timedelta(hours=2)
"""Before its end a certificate is replaced."""


def server_of(endpoint: Endpoint, *, by_name: bool = False) -> str:
    """Where this machine reaches the API: by the address where there is one, since the name may be in no DNS.

    `by_name`: it is in DNS, or an address itself, and the other one may be of the cluster's network alone.
    """
    host = endpoint.host if by_name else endpoint.address or endpoint.host
    return f"https://[{host}]:{endpoint.port}" if ":" in host else f"https://{host}:{endpoint.port}"


def admin_kubeconfig(name: str, server: str, secrets: ClusterSecrets, world: World) -> bytes:
    """A kubeconfig with a certificate of a working day; nobody keeps an admin's key."""
    pair = secrets.admin(world, LIFETIME)
    authority = secrets.kubernetes.certificate
    return Kubeconfig(name=name, server=server, ca=authority, client=pair).render()


class HttpClients:
    """`engine.context.Clients` over HTTP: one client for each API, until its certificate gets old."""

    def __init__(self, world: World, *, by_name: bool = False) -> None:
        self._world = world
        self._by_name = by_name
        self._clients: dict[tuple[str, bytes], tuple[HttpApi, datetime]] = {}
        self._old: list[HttpApi] = []

    def connect(self, endpoint: Endpoint, secrets: ClusterSecrets) -> Api:
        """A client as the cluster's administrator."""
        return self._client(endpoint, secrets)

    def _client(self, endpoint: Endpoint, secrets: ClusterSecrets) -> HttpApi:
        server, authority = server_of(endpoint, by_name=self._by_name), secrets.kubernetes.certificate
        found = self._clients.get((server, authority))
        if found is not None and self._world.now() < found[1]:
            return found[0]
        if found is not None:
            self._old.append(found[0])  # a reflector may still watch through it
        access = Access(server, authority.decode(), client=secrets.admin(self._world, LIFETIME))
        client = HttpApi(access)
        self._clients[server, authority] = client, self._world.now() + LIFETIME - RENEW
        return client

    def etcd(
        self, endpoint: Endpoint | None, hosts: tuple[EtcdHost, ...], secrets: ClusterSecrets
    ) -> HttpEtcd:
        """etcd's membership, with a certificate that ends soon after the question."""
        pair = secrets.etcd.client("flatyard", (), self._world, ETCD_LIFETIME)
        tls = Access("", secrets.etcd.certificate.decode(), client=pair).tls()
        straight = [Straight(host.address, tls) for host in hosts if host.address]
        if endpoint is None:
            return HttpEtcd((), straight)
        api = self._client(endpoint, secrets)
        return HttpEtcd([Through(api, host.node, tls) for host in hosts], straight)

    async def close(self) -> None:
        """End every connection."""
        for client in (*self._old, *(client for client, _ in self._clients.values())):
            await client.close()
        self._old.clear()
        self._clients.clear()
