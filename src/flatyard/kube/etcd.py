"""The membership of a cluster's etcd as we need it: who is a member, and taking a vote away.

EtcdError
├── EtcdSilent    no member could be reached
├── NoQuorum      a member answered, and has no majority to agree with
└── EtcdRefused   etcd said no, because the change would endanger its majority
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from flatyard.base.errors import Failed


class EtcdError(Failed):
    """etcd's membership could not be read or changed."""


class EtcdSilent(EtcdError):
    """No member could be reached."""


class NoQuorum(EtcdError):
    """A member answered, and has no majority to agree with."""


class EtcdRefused(EtcdError):
    """etcd said no, because the change would endanger its majority."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of etcd. `name` is its node's, and empty until it has started once; a `learner` has no vote."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    learner: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses in its peer URLs."""
        return tuple(urlsplit(url).hostname or "" for url in self.peer_urls)


@dataclass(frozen=True, slots=True)
class EtcdHost:
    """A control plane, on which a member may be: its node's name, and the address of it that its cloud tells."""

    node: str
    address: str = ""


class EtcdMembers(Protocol):
    """The membership of one etcd."""

    async def list(self, *, agreed: bool = True) -> tuple[Member, ...]:
        """All members: as a majority has it now, else (`agreed=False`) as the member that answers remembers it.

        Raises EtcdSilent, and NoQuorum where a majority was asked for.
        """
        ...

    async def remove(self, member_id: str) -> None:
        """Take a member's vote away for good; one that is not there is fine. Raises EtcdError."""
        ...
