"""What a cloud brings to be checked, and what the checks share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flatyard.clouds.cloud import (
    Cloud,
    CloudError,
    ClusterRef,
    CreateRequest,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    Owned,
    RateLimited,
    Role,
)
from flatyard.clouds.facts import Trouble
from flatyard.model.cluster import Cluster
from flatyard.model.machines import MachineSpec

T = TypeVar("T")

GONE = (InstanceState.TERMINATED,)
LEAVING = (InstanceState.TERMINATED, InstanceState.DELETING)
USER_DATA = b'{"ignition":{"version":"3.4.0"}}'
TRIES = 40
PLANTS = ("region", "size", "image", "zone", "subnet", "quota", "name", "credential")
"""What preflight is planted with, one wrong thing at a time."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A Cluster with one wrong thing. Preflight must say `words`, and make nothing."""

    name: str
    """One of PLANTS."""
    cluster: Cluster
    words: str


class Bench(Protocol):
    """One cloud under test; make one for each check. What is a property here may be a plain attribute of a bench."""

    @property
    def cloud(self) -> Cloud:
        """The adapter under test."""
        ...

    @property
    def cluster(self) -> Cluster:
        """A Cluster that is right for the cloud: preflight has nothing against it.

        It names one of flatyard's own clouds, for there are no others in a file; an adapter from elsewhere reads
        the fields of whichever it resembles.
        """
        ...

    @property
    def ref(self) -> ClusterRef:
        """The cluster that checks make, empty at first."""
        ...

    @property
    def other(self) -> ClusterRef:
        """Another cluster in the same account, empty at first."""
        ...

    @property
    def machine(self) -> MachineSpec:
        """The machine spec that `cluster` has: of flatyard's own, as the cloud is."""
        ...

    @property
    def beyond_a_page(self) -> int:
        """How many machines the check of many makes: more than a page of the cloud's list holds, and 200 where that
        takes no more than minutes."""
        ...

    @property
    def cannot(self) -> Mapping[str, str]:
        """Name of a check, and why this bench cannot show it; a tenth of the checks at most (`excess`)."""
        ...

    @property
    def planted(self) -> tuple[Planted, ...]:
        """`cluster` with one wrong thing, for each of PLANTS that the cloud can have wrong."""
        ...

    def machine_id(self, number: int) -> str:
        """The number-th machine id, a ULID; numbers go up to `beyond_a_page`."""
        ...

    def restarted(self) -> Cloud:
        """A new adapter on the same account, as a new process has it: it remembers nothing."""
        ...

    def lose_replies(self, count: int) -> None:
        """The next `count` instance creates happen, and their replies are lost."""
        ...

    def trouble(self, what: Trouble, count: int) -> None:
        """The next `count` instance creates are answered so: RATE, INTERNAL, QUOTA_VCPUS or CAPACITY; 0 ends it."""
        ...

    def meter(self, on: bool) -> None:
        """Whether the account refuses what is beyond the rates that its cloud documents, where it does not always.

        A bench may let the emulated account's clock run faster: the rates are as many times higher then.
        """
        ...

    def lag(self, seconds: float) -> None:
        """Lists show what is created from now on only after so long; `wait` waits for that too."""
        ...

    def fail(self, instance: Instance) -> None:
        """The instance goes to ERROR, with words of the cloud's."""
        ...

    def end(self, instance: Instance) -> None:
        """The cloud itself terminates the instance, as with a spot instance or a broken host."""
        ...

    def user_data(self, instance: Instance) -> bytes:
        """What the machine in the instance is given, as it reads it: any encoding of the cloud's API is undone."""
        ...

    def stray(self) -> str:
        """Make, behind the adapter's back, one small resource with the tags of `ref`; its id, as `sweep` tells it."""
        ...

    def borrowed(self) -> str:
        """Somebody's own small resource with the tag of `ref` on it and without `flatyard-owned`; its id."""
        ...

    def remains(self, id: str) -> bool:
        """Whether what `borrowed` made is still there."""
        ...

    def foreign(self, name: str) -> None:
        """Somebody else makes an instance in the account, without our tags."""
        ...

    def break_down(self, instance: Instance) -> None:
        """Make the instance's first boot tell on its console that kubelet.service failed: no such file."""
        ...

    async def wait(self, seconds: float) -> None:
        """Let time pass: until nothing is under way any more, `seconds` at most."""
        ...

    async def get(self, url: str) -> int:
        """The HTTP status that a machine gets for a URL."""
        ...

    async def read(self, url: str) -> bytes:
        """What a machine gets for a URL. Raises `ignition.fetch.FetchError` for anything but 200."""
        ...


Check = Callable[[Bench], Coroutine[object, object, None]]


async def request(
    bench: Bench,
    number: int = 1,
    *,
    attempt: int = 1,
    ref: ClusterRef | None = None,
    network: Network | None = None,
) -> CreateRequest:
    """A create request for the number-th machine, rendered the same each time."""
    owner = ref or bench.ref
    place = network or await bench.cloud.ensure_network(owner, bench.cluster)
    found = await bench.cloud.images(ImageQuery("stable", None, machine=bench.machine))
    assert found, "the region has no stable image"
    return CreateRequest(
        cluster=owner,
        machine_id=bench.machine_id(number),
        attempt=attempt,
        name=f"general-{number:04d}",
        role=Role.WORKER,
        pool="general",
        zone="",
        image=found[0].reference,
        machine=bench.machine,
        network=place,
        user_data=USER_DATA,
    )


async def caught_up(bench: Bench) -> None:
    """Wait until lists show what there is."""
    await bench.wait(max(5.0, bench.cloud.limits.list_lag_seconds) + 1)


async def living(
    bench: Bench, cloud: Cloud | None = None, ref: ClusterRef | None = None
) -> tuple[Instance, ...]:
    """The cluster's instances once lists have caught up, without those that are leaving."""
    await caught_up(bench)
    listed = await (cloud or bench.cloud).machines(ref or bench.ref)
    return tuple(instance for instance in listed if instance.state not in LEAVING)


async def the_only(bench: Bench, cloud: Cloud | None = None, ref: ClusterRef | None = None) -> Instance:
    """The one instance that lives."""
    found = await living(bench, cloud, ref)
    assert len(found) == 1, f"there should be one machine, and there are {[one.id for one in found]}"
    return found[0]


async def only_these(bench: Bench, *made: Instance) -> None:
    """No other instances live than these."""
    found, wanted = sorted(i.id for i in await living(bench)), sorted(i.id for i in made)
    assert found == wanted, f"there should be {', '.join(wanted)}, and there is {', '.join(found) or 'none'}"


async def shown(bench: Bench, made: Instance) -> Instance:
    """The instance as the list shows it by now."""
    await caught_up(bench)
    found = [i for i in await bench.cloud.machines(bench.ref) if i.id == made.id]
    assert found, f"{made.name} is in no list"
    return found[0]


async def owned(bench: Bench, ref: ClusterRef | None = None) -> tuple[Owned, ...]:
    """What sweep finds once lists have caught up."""
    await caught_up(bench)
    return await bench.cloud.sweep(ref or bench.ref)


async def emptied(bench: Bench, ref: ClusterRef | None = None) -> None:
    """Delete everything in the order of `down` and wait for it."""
    owner = ref or bench.ref
    for instance in await living(bench, ref=owner):
        await bench.cloud.delete(owner, instance)
    await bench.wait(600)
    await bench.cloud.delete_endpoint(owner)
    await bench.cloud.delete_network(owner)


async def persistently(bench: Bench, act: Callable[[], Awaitable[T]]) -> T:
    """As the engine does it: what a later try may not see is tried again, when the cloud says so, and less often
    the longer it takes."""
    for number in range(TRIES):
        try:
            return await act()
        except CloudError as no:
            assert no.retry, f"a final refusal: {no}"
            pause = no.retry_after if isinstance(no, RateLimited) else 1.0
            await asyncio.sleep(min(max(pause, 0.5 * 1.2**number), 30.0))
    raise AssertionError(f"refused {TRIES} times")


async def refusal_of(act: Awaitable[object]) -> CloudError:
    """The error that the act ends with."""
    try:
        await act
    except CloudError as no:
        return no
    raise AssertionError("it was not refused")
