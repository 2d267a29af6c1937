"""The simulated cluster's etcd: its members, who of them has a vote, and what clients may ask of it.

A joining member is a learner first, as kubeadm has it; it votes once it is in sync. A member that is added again
under its old name is another member, with another id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from flatyard.kube.etcd import EtcdRefused, EtcdSilent, Member, NoQuorum


@dataclass(frozen=True, slots=True)
class SimMember:
    """One member: its node's name, the address of its peer port, and the how-manieth member it was."""

    name: str
    address: str = ""
    number: int = 1
    learner: bool = False

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> SimMember:
        return cls(**raw)

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def id(self) -> str:
        """A number of 64 bits in decimal, as etcd's JSON has it."""
        mark = f"{self.number}/{self.name}/{self.address}"
        return str(int.from_bytes(hashlib.sha256(mark.encode()).digest()[:8], "big"))

    def shown(self) -> Member:
        """As etcd lists it; a member that never started has not told its name."""
        url = f"https://{self.address or self.name}:2380"
        return Member(self.id, "" if self.learner else self.name, (url,), self.learner)


Members = tuple[SimMember, ...]


def voters(members: Iterable[SimMember]) -> tuple[str, ...]:
    """The names of those who have a vote."""
    return tuple(m.name for m in members if not m.learner)


def has_quorum(members: Iterable[SimMember], up: Mapping[str, None]) -> bool:
    """Whether more than half of the voters run."""
    names = voters(members)
    return 2 * sum(1 for name in names if name in up) > len(names) > 0


def with_learner(members: Members, name: str, address: str, number: int) -> Members:
    """The members with a new learner; one of that name that is there already stays as it is.

    Raises EtcdRefused while another one is learning: etcd allows one at a time.
    """
    if any(m.name == name and (m.address == address or not m.learner) for m in members):
        return members
    other = next((m.name for m in members if m.learner), "")
    if other:
        raise EtcdRefused("etcdserver: too many learner members in cluster", why=f"{other} is still learning")
    return (*members, SimMember(name, address, number, learner=True))


def promoted(members: Members, name: str) -> Members:
    """The members with `name` as a voter."""
    return tuple(replace(m, learner=False) if m.name == name else m for m in members)


class _Cluster(Protocol):
    """What etcd's clients need of the cluster."""

    @property
    def etcd_members(self) -> Members: ...

    @property
    def up(self) -> Mapping[str, None]: ...

    @property
    def available(self) -> bool: ...

    def why_unavailable(self) -> str: ...

    def keep_members(self, members: Members) -> None: ...


class SimEtcd:
    """`kube.etcd.EtcdMembers` of a simulated cluster."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster

    async def list(self, *, agreed: bool = True) -> tuple[Member, ...]:
        """See EtcdMembers."""
        self._check(lambda: not agreed or self._cluster.available)
        return tuple(sorted((m.shown() for m in self._cluster.etcd_members), key=lambda m: (m.name, m.id)))

    async def remove(self, member_id: str) -> None:
        """See EtcdMembers."""
        self._check(lambda: self._cluster.available)
        members = self._cluster.etcd_members
        left = tuple(m for m in members if m.id != member_id)
        if len(left) == len(members):
            return
        if not has_quorum(left, self._cluster.up):
            raise EtcdRefused("etcdserver: re-configuration failed due to not enough started members")
        self._cluster.keep_members(left)

    def _check(self, answers: Callable[[], bool]) -> None:
        if not any(m.name in self._cluster.up for m in self._cluster.etcd_members):
            raise EtcdSilent(f"no etcd member could be reached: {self._cluster.why_unavailable()}")
        if not answers():
            raise NoQuorum(f"etcdserver: request timed out: {self._cluster.why_unavailable()}")
