"""The simulated cluster's etcd: its members, who of them has a vote, and what clients may ask of it.

A joining member is a learner first, as kubeadm has it; it votes once it is in sync. A member that is added again
under its old name is another member, with another id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from flatyard.kube.api import Unreachable
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


@dataclass(slots=True)
class Quorum:
    """The members as they are now, and which of them run: whether the cluster's API answers hangs on it."""

    members: Members = ()
    up: dict[str, None] = field(default_factory=dict)
    """The control planes whose static pods run, by node name."""
    running: bool = False
    """The simulation itself runs."""

    @property
    def present(self) -> bool:
        """A majority of the voting members run."""
        return self.running and has_quorum(self.members, self.up)

    def why_lost(self) -> str:
        """In one sentence."""
        names = voters(self.members)
        if not names:
            return "no control plane has been initialised"
        up = sum(1 for name in names if name in self.up)
        return f"{up} of {len(names)} etcd members run, a majority is needed"

    def check(self) -> None:
        """Raises Unreachable while there is none."""
        if not self.present:
            raise Unreachable(f"the simulated Kubernetes API does not answer: {self.why_lost()}")


class SimEtcd:
    """`kube.etcd.EtcdMembers` of a simulated cluster."""

    def __init__(self, quorum: Quorum, keep: Callable[[Members], None]) -> None:
        """`keep` is told the members on which etcd has agreed."""
        self._quorum, self._keep = quorum, keep

    async def list(self, *, agreed: bool = True) -> tuple[Member, ...]:
        """See EtcdMembers."""
        self._check(lambda: not agreed or self._quorum.present)
        return tuple(sorted((m.shown() for m in self._quorum.members), key=lambda m: (m.name, m.id)))

    async def remove(self, member_id: str) -> None:
        """See EtcdMembers."""
        self._check(lambda: self._quorum.present)
        members = self._quorum.members
        left = tuple(m for m in members if m.id != member_id)
        if len(left) == len(members):
            return
        if not has_quorum(left, self._quorum.up):
            raise EtcdRefused("etcdserver: re-configuration failed due to not enough started members")
        self._keep(left)

    def _check(self, answers: Callable[[], bool]) -> None:
        if not any(m.name in self._quorum.up for m in self._quorum.members):
            raise EtcdSilent(f"no etcd member could be reached: {self._quorum.why_lost()}")
        if not answers():
            raise NoQuorum(f"etcdserver: request timed out: {self._quorum.why_lost()}")
