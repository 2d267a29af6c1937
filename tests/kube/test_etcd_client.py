"""Asking etcd for its members: the first that answers counts, and each refusal is told for what it is."""

from __future__ import annotations

import asyncio

import pytest

from flatyard.base.world import RealWorld, SeededWorld
from flatyard.kube.client import Access
from flatyard.kube.etcd import EtcdRefused, EtcdSilent, Member, NoQuorum
from flatyard.kube.etcd_client import HttpEtcd, Straight
from flatyard.pki.keys import new_authority
from kube.etcd_gateway import Answer, Etcd

TWO = {
    "header": {"cluster_id": "1"},
    "members": [
        {"ID": "18046577603414972096", "name": "cp-2", "peerURLs": ["https://10.0.0.2:2380"]},
        {"ID": "6424482383089957607", "peerURLs": ["https://[fd00::3]:2380"], "isLearner": True},
    ],
}


def ask(answer: Answer, act, *, addresses=("127.0.0.1",), trusted=True):
    """Run `act(etcd)` against a server that wants a client certificate of its authority, as etcd does."""

    async def main():
        world = RealWorld()
        authority = new_authority("etcd-ca", world)
        other = authority if trusted else new_authority("etcd-ca", SeededWorld(2, lambda: 0.0))
        async with Etcd("127.0.0.1", authority, world, answer).listening() as port:
            client = other.client("flatyard", (), world)
            tls = Access("", authority.certificate.decode(), client=client).tls()
            return await act(HttpEtcd((), [Straight(a, tls, port) for a in addresses]))

    return asyncio.run(main())


def refusing(code: int, message: str, status: int = 500) -> Answer:
    return lambda path, body: (status, {"code": code, "message": message, "details": []})


def test_members_are_listed_with_what_is_left_out_of_the_json():
    asked = []

    def answer(path, body):
        asked.append((path, body))
        return 200, TWO

    found = ask(answer, lambda etcd: etcd.list())
    assert asked == [("/v3/cluster/member/list", {"linearizable": True})]
    assert found == (
        Member("6424482383089957607", "", ("https://[fd00::3]:2380",), learner=True),
        Member("18046577603414972096", "cp-2", ("https://10.0.0.2:2380",)),
    )
    assert [m.hosts for m in found] == [("fd00::3",), ("10.0.0.2",)]


def test_a_member_that_is_down_is_passed_over():
    """127.0.0.2 has nobody on that port."""
    found = ask(lambda path, body: (200, TWO), lambda e: e.list(), addresses=("127.0.0.2", "127.0.0.1"))
    assert len(found) == 2


def test_a_removal_names_the_id_and_one_that_was_done_already_is_fine():
    asked = []

    def answer(path, body):
        asked.append((path, body))
        return 404, {"code": 5, "message": "etcdserver: member not found"}

    ask(answer, lambda etcd: etcd.remove("42"))
    assert asked == [("/v3/cluster/member/remove", {"ID": "42"})]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusing(14, "etcdserver: no leader", 503), NoQuorum),
        (refusing(14, "etcdserver: request timed out", 503), NoQuorum),
        (refusing(14, "etcdserver: unhealthy cluster", 503), EtcdRefused),
        (refusing(9, "etcdserver: re-configuration failed due to not enough started members"), EtcdRefused),
    ],
)
def test_a_refusal_says_whether_the_majority_is_gone_or_in_danger(answer, kind):
    with pytest.raises(kind, match="etcdserver: "):
        ask(answer, lambda etcd: etcd.remove("42"))


def test_nobody_who_answers_is_told_with_each_address():
    with pytest.raises(EtcdSilent) as told:
        ask(lambda path, body: (200, TWO), lambda e: e.list(), addresses=("127.0.0.2", "127.0.0.3"))
    assert "127.0.0.2" in told.value.why and "127.0.0.3" in told.value.why


def test_a_certificate_of_another_authority_opens_nothing():
    with pytest.raises(EtcdSilent):
        ask(lambda path, body: (200, TWO), lambda etcd: etcd.list(), trusted=False)
