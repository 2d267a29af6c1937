"""Shed's adapter keeps what flatyard's conformance suite asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from shed import REGION, Account, ShedCloud

from flatyard.clouds import conformance
from flatyard.clouds.cloud import TAG_CLUSTER, TAG_OWNED, Cloud, ClusterRef, Instance
from flatyard.clouds.facts import Trouble
from flatyard.decode.types import ConfigVar
from flatyard.model.cluster import CloudChoice, Cluster, ClusterSpec, Flatcar, OpenstackCloud, WorkerPool
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

SMALL = OpenstackMachine(flavor=ConfigVar("small"))
ANSWERS = {
    Trouble.RATE: "TooManyRequests",
    Trouble.INTERNAL: "InternalError",
    Trouble.QUOTA_VCPUS: "QuotaExceeded",
    Trouble.CAPACITY: "OutOfCapacity",
}


def a_cluster(
    cloud: OpenstackCloud,
    *,
    name: str = "prod",
    machine: OpenstackMachine = SMALL,
    replicas: int = 3,
    version: str = "",
) -> Cluster:
    """A Cluster names one of flatyard's own clouds; Shed borrows the fields of the one that it resembles."""
    return Cluster(
        metadata=ObjectMeta(name=name),
        spec=ClusterSpec(
            cloud=CloudChoice(openstack=cloud),
            flatcar=Flatcar(version=version),
            workers=(WorkerPool(name="general", replicas=replicas, machine=machine),),
        ),
    )


HERE = OpenstackCloud(cloud="right", region=REGION)


def wrong(name: str, cluster: Cluster, words: str) -> conformance.Planted:
    return conformance.Planted(name, cluster, words)


class Bench:
    """A fresh account for each check."""

    cannot: Mapping[str, str] = {}
    cluster = a_cluster(HERE)
    machine = SMALL
    ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
    other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
    beyond_a_page = 200
    planted = (
        wrong("region", a_cluster(replace(HERE, region="nowhere")), "no region 'nowhere'"),
        wrong("subnet", a_cluster(replace(HERE, subnet="none")), "no subnet 'none'"),
        wrong("credential", a_cluster(replace(HERE, cloud="wrong")), "does not take key 'wrong'"),
        wrong("size", a_cluster(HERE, machine=replace(SMALL, flavor=ConfigVar("huge"))), "no size 'huge'"),
        wrong(
            "zone", a_cluster(HERE, machine=replace(SMALL, availability_zone=ConfigVar("z"))), "no zone 'z'"
        ),
        wrong("image", a_cluster(HERE, version="1000.0.0"), "no image of Flatcar 1000.0.0"),
        wrong("quota", a_cluster(HERE, replicas=1000), "may have 500 machines"),
        wrong("name", a_cluster(HERE, name="x" * 41), "40 characters"),
    )

    def __init__(self) -> None:
        self.account = Account()
        self.cloud = ShedCloud(self.account)

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCC{number:04d}"

    def restarted(self) -> Cloud:
        return ShedCloud(self.account)

    # ---- trouble

    def lose_replies(self, count: int) -> None:
        self.account.lost = count

    def trouble(self, what: Trouble, count: int) -> None:
        self.account.answers = [ANSWERS[what]] * count

    def meter(self, on: bool) -> None:
        """Shed counts no calls."""

    def lag(self, seconds: float) -> None:
        self.account.lag = seconds

    def fail(self, instance: Instance) -> None:
        self.account.things[instance.id].state = "error"
        self.account.things[instance.id].why = "the host is gone"

    def end(self, instance: Instance) -> None:
        self.account.things[instance.id].state = "ended"

    def break_down(self, instance: Instance) -> None:
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        self.account.things[instance.id].console += format_report(report).splitlines()

    # ---- what is really there

    def user_data(self, instance: Instance) -> bytes:
        return self.account.things[instance.id].user_data

    def stray(self) -> str:
        tags = {TAG_CLUSTER: self.ref.id, TAG_OWNED: "true"}
        return self.account.make("address", "stray", name="forgotten", tags=tags).id

    def borrowed(self) -> str:
        return self.account.make("address", "theirs", name="theirs", tags={TAG_CLUSTER: self.ref.id}).id

    def remains(self, id: str) -> bool:
        return id in self.account.things

    def foreign(self, name: str) -> None:
        self.account.make("instance", f"foreign-{name}", name=name, tags={})

    async def wait(self, seconds: float) -> None:
        """Nothing takes time in Shed but its lists."""
        await asyncio.sleep(min(seconds, self.account.lag))

    async def get(self, url: str) -> int:
        raise AssertionError(f"Shed has no object store, and a machine asks for {url}")

    async def read(self, url: str) -> bytes:
        raise AssertionError(f"Shed has no object store, and a machine asks for {url}")


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda check: check.__name__)
def test_shed_conforms(named: conformance.Check) -> None:
    bench = Bench()
    if named.__name__ in bench.cannot:
        pytest.skip(bench.cannot[named.__name__])
    asyncio.run(named(bench))


def test_a_tenth_of_the_suite_is_left_out_at_most() -> None:
    assert conformance.excess(Bench.cannot) == ""
