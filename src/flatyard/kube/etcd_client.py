"""etcd's membership, asked of a living member's client port.

etcd serves its gRPC API as JSON beside it, on the same port (etcd.io, "gRPC gateway"): POST, 64-bit ids as decimal
strings, refusals as {"code": gRPC status, "message": …}. A client certificate of the etcd authority opens it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence

import httpx2

from flatyard.kube.api import Json
from flatyard.kube.etcd import EtcdError, EtcdRefused, EtcdSilent, Member, NoQuorum

PORT = 2379
SECONDS = 12.0
"""A member without a leader says so after 7 s (its request timeout of 5 s and two elections)."""
CONNECT_SECONDS = 3.0
_NOT_FOUND = 5
_LEADERLESS = ("no leader", "timed out", "leader changed", "deadline exceeded", "stopped", "not capable")


class HttpEtcd:
    """`EtcdMembers` through the JSON gateway of whichever of `addresses` answers first."""

    def __init__(self, addresses: Sequence[str], tls: ssl.SSLContext, *, port: int = PORT) -> None:
        self._addresses = tuple(addresses)
        self._tls = tls
        self._port = port

    async def list(self, *, agreed: bool = True) -> tuple[Member, ...]:
        """See EtcdMembers."""
        found = await self._ask("list", {"linearizable": agreed})
        members = [_member(raw) for raw in found.get("members") or ()]
        return tuple(sorted(members, key=lambda m: (m.name, m.id)))

    async def remove(self, member_id: str) -> None:
        """See EtcdMembers."""
        await self._ask("remove", {"ID": member_id})

    async def _ask(self, verb: str, body: Json) -> Json:
        problems: list[EtcdError] = []
        timeout = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
        async with httpx2.AsyncClient(verify=self._tls, timeout=timeout, trust_env=False) as client:
            for address in self._addresses:
                try:
                    return await self._ask_one(client, address, verb, body)
                except (EtcdSilent, NoQuorum) as problem:
                    problems.append(problem)
        raise next((p for p in problems if isinstance(p, NoQuorum)), None) or EtcdSilent(
            "no etcd member could be reached", why="; ".join(p.what for p in problems)
        )

    async def _ask_one(self, client: httpx2.AsyncClient, address: str, verb: str, body: Json) -> Json:
        host = f"[{address}]" if ":" in address else address
        where = f"https://{host}:{self._port}"
        try:
            answer = await client.post(f"{where}/v3/cluster/member/{verb}", content=json.dumps(body).encode())
        except httpx2.ReadTimeout:
            raise NoQuorum(f"etcd at {where} does not answer in {SECONDS:g} s") from None
        except httpx2.TransportError as error:
            raise EtcdSilent(f"etcd at {where}: {str(error) or type(error).__name__}") from error
        return _read(where, verb, answer.status_code, answer.content)


def _read(where: str, verb: str, status: int, content: bytes) -> Json:
    """What a member answered; raises what its refusal means."""
    try:
        found: Json = json.loads(content)
    except ValueError:
        found = {"message": content[:200].decode(errors="replace")}
    if status < 400:
        return found
    said = str(found.get("message") or found.get("error") or f"status {status}")
    if found.get("code") == _NOT_FOUND and verb == "remove":
        return {}
    if any(words in said for words in _LEADERLESS):
        raise NoQuorum(f"etcd at {where}: {said}")
    raise EtcdRefused(f"etcd at {where}: {said}")


def _member(raw: Json) -> Member:
    """A member from JSON, in which what is empty or false is left out."""
    return Member(
        id=str(raw["ID"]),
        name=str(raw.get("name") or ""),
        peer_urls=tuple(str(url) for url in raw.get("peerURLs") or ()),
        learner=bool(raw.get("isLearner")),
    )
