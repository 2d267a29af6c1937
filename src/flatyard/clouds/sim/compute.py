"""Instances of the simulated provider: run, list, delete, reboot, and how their state changes in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from flatyard.clouds.cloud import TAG_CLUSTER, InstanceState
from flatyard.clouds.facts import Idempotency, Size, Spell, Trouble
from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.addresses import Addresses
from flatyard.clouds.sim.admission import Admission
from flatyard.clouds.sim.consoles import Consoles
from flatyard.clouds.sim.images import Images
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.power import BootFaults, Machines
from flatyard.clouds.sim.rows import ImageRow, InstanceRow, VolumeRow
from flatyard.clouds.sim.view import View
from flatyard.ignition.fetch import Fetcher

_ALIVE = (InstanceState.PENDING, InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.ERROR)
_USER_DATA = "cloud/user-data/"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next` is empty on the last one."""

    rows: tuple[InstanceRow, ...]
    next: str


class Compute:
    """Every instance of the account. Timers belong to the running loop: call `open` in it."""

    def __init__(
        self,
        account: Account,
        images: Images,
        addresses: Addresses,
        machines: Machines,
        consoles: Consoles,
        boots: BootFaults,
        fetcher: Callable[[int], Fetcher],
    ) -> None:
        self._account = account
        self._images = images
        self._machines = machines
        self._boots = boots
        self._fetcher = fetcher
        self.consoles = consoles
        self.view = View(account)
        self._addresses = addresses
        self._admission = Admission(account, images)
        self._user_data = {key[len(_USER_DATA) :]: value for key, value in account.disk.items(_USER_DATA)}
        self._rows = account.instances
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._by_cluster: dict[str, dict[str, None]] = {}
        self._by_token: dict[str, str] = {}
        self._by_name: dict[tuple[str, str], str] = {}
        self._vcpus = 0
        self._alive = 0
        for row in self._rows:
            self._index(row)

    # ---- what the API offers

    def run(self, run: RunInstance) -> InstanceRow:
        """Create an instance, or answer as this cloud answers to a repeated create."""
        known = self._repeated(run)
        if known:
            return known
        size, image = self._admission.check(run)
        self._admission.quotas(size, self._alive, self._vcpus)
        late = self._admission.capacity(run, size)
        row = self._new(run, size, image, late)
        self._keep_user_data(row.id, run.user_data)
        self._attach(row, run)
        self._rows.put(row)
        self._index(row)
        self._wait(row)
        return row

    def list(self, tags: Mapping[str, str], after: str) -> Page:
        """The next page of the instances that carry these tags and that lists show by now."""
        now, limit = self._account.now(), self._account.facts.behaviour.page
        start = int(after or "0")
        rows: list[InstanceRow] = []
        for row in self._candidates(tags):
            if row.seq <= start or row.visible > now or not tags.items() <= row.tags.items():
                continue
            if len(rows) == limit:
                return Page(tuple(rows), str(rows[-1].seq))
            rows.append(row)
        return Page(tuple(rows), "")

    def get(self, instance_id: str) -> InstanceRow:
        """One instance by id; raises Refused when there is none."""
        row = self._rows.get(instance_id)
        if row is None:
            raise self._account.refuse(Trouble.NOT_FOUND, name=instance_id)
        return row

    def named(self, name: str, group: str) -> InstanceRow:
        """The living instance of that name; raises Refused when there is none."""
        row = self._rows.get(self._by_name.get((group, name), ""))
        if row is None:
            raise self._account.refuse(Trouble.NOT_FOUND, name=name)
        return row

    def delete(self, instance_id: str) -> InstanceRow:
        """Start deleting; again on one that is on its way changes nothing."""
        row = self.get(instance_id)
        if row.state in (InstanceState.DELETING, InstanceState.TERMINATED):
            return row
        self._machines.stop(row.id)
        due = self._account.later(self._draw(self._account.facts.durations.terminated))
        return self._change(replace(row, state=InstanceState.DELETING, due=due))

    def reboot(self, instance_id: str) -> InstanceRow:
        """Off and on again; an instance that does not run cannot."""
        row = self.get(instance_id)
        if row.state is not InstanceState.RUNNING:
            raise self._account.refuse(Trouble.IN_USE, name=instance_id)
        delay = self._draw(self._account.facts.durations.restart)
        asyncio.get_running_loop().call_later(delay, self._restart, row.id)
        return self._rows.put(replace(row, boots=row.boots + 1))

    # ---- what happens without the API

    def open(self) -> None:
        """Take up, in the running loop, where an earlier process stopped."""
        for row in self._rows:
            if row.due:
                self._wait(row)
            if row.state is InstanceState.RUNNING:
                self._power_on(row.id)

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def vanish(self, instance_id: str) -> None:
        """Somebody else deletes the instance: it is gone at once and leaves nothing in lists."""
        row = self._rows.get(instance_id)
        if row:
            self._machines.stop(row.id)
            self._release(row)
            self._forget(row)

    def fail(self, instance_id: str, fault: str) -> None:
        """The instance breaks: it is shown in ERROR with the cloud's words for it."""
        row = self.get(instance_id)
        self._machines.cut(row.id)
        self._change(replace(row, state=InstanceState.ERROR, fault=fault, due=0.0))

    def end(self, instance_id: str) -> None:
        """The cloud itself terminates the instance: a spot instance is taken back, a host is lost."""
        row = self.get(instance_id)
        self._machines.stop(row.id)
        self._ended(row)

    def user_data(self, instance_id: str) -> bytes:
        """What the machine in the instance is given; empty once it has been deleted."""
        return self._user_data.get(instance_id, b"")

    def cut_power(self, zone: str) -> None:
        """A zone fails: its instances are off, and the API goes on saying that they run."""
        for row in self._rows:
            if row.zone == zone and row.state is InstanceState.RUNNING:
                self._machines.cut(row.id)

    def restore_power(self, zone: str) -> None:
        """The zone is back; what ran there boots again."""
        for row in self._rows:
            if row.zone == zone and row.state is InstanceState.RUNNING:
                self._power_on(row.id)

    @property
    def alive(self) -> int:
        """Instances that count against the quota."""
        return self._alive

    @property
    def vcpus(self) -> int:
        """vCPUs that count against the quota."""
        return self._vcpus

    # ---- create

    def _repeated(self, run: RunInstance) -> InstanceRow | None:
        kind = self._account.facts.behaviour.idempotency
        named = self._rows.get(self._by_name.get((run.group, run.name), ""))
        if kind in (Idempotency.CLIENT_TOKEN, Idempotency.REQUEST_ID):
            known = self._rows.get(self._by_token.get(run.token, "")) if run.token else None
            if known:
                return self._same(known, run, run.token)
            if named and kind is Idempotency.REQUEST_ID:
                raise self._account.refuse(Trouble.NAME_TAKEN, name=run.name)
        elif kind is Idempotency.PUT_BY_NAME and named:
            if named.state is InstanceState.DELETING:
                raise self._account.refuse(Trouble.NAME_TAKEN, name=run.name)
            return self._same(named, run, run.name)
        elif kind is Idempotency.UNIQUE_NAME and named:
            raise self._account.refuse(Trouble.NAME_TAKEN, name=run.name)
        elif kind is Idempotency.PORT:
            port = self._account.ports.get(run.port)
            if port and port.instance:
                raise self._account.refuse(Trouble.NAME_TAKEN, name=run.port)
        return None

    def _same(self, known: InstanceRow, run: RunInstance, name: str) -> InstanceRow:
        if known.print != run.print:
            raise self._account.refuse(Trouble.PARAMETERS_DIFFER, name=name)
        return known

    def _new(self, run: RunInstance, size: Size, image: ImageRow, fault: str) -> InstanceRow:
        account = self._account
        subnet = account.subnets.get(run.subnet)
        assert subnet is not None
        durations = account.facts.durations
        lag = account.list_lag
        return InstanceRow(
            id=account.new_id(account.facts.instance_id, run.name, run.group),
            seq=account.next_seq(),
            name=run.name,
            created=account.created(),
            tags=dict(run.tags),
            zone=run.zone,
            size=size.name,
            vcpus=size.vcpus,
            memory_mib=size.memory_mib,
            image=image.id,
            network=subnet.network,
            subnet=subnet.id,
            groups=run.groups,
            address=self._address(run),
            public=self._addresses.public() if run.public else "",
            token=run.token,
            print=run.print,
            port=run.port,
            group=run.group,
            fault=fault,
            number=account.next_number(),
            state=InstanceState.PENDING,
            visible=account.later(account.world.random().uniform(0, lag)) if lag else 0.0,
            due=account.later(self._draw(durations.running)),
        )

    def _address(self, run: RunInstance) -> str:
        port = self._account.ports.get(run.port)
        return port.address if port else self._addresses.take(run.subnet)

    def forget_user_data(self, instance_id: str) -> None:
        """The machine has read its user data, and this cloud deletes it then."""
        self._user_data.pop(instance_id, None)
        self._account.disk.delete(_USER_DATA + instance_id)

    def _keep_user_data(self, instance_id: str, user_data: bytes) -> None:
        self._account.disk.put(_USER_DATA + instance_id, user_data)
        self._user_data[instance_id] = user_data

    def _attach(self, row: InstanceRow, run: RunInstance) -> None:
        account = self._account
        port = account.ports.get(run.port)
        if port:
            account.ports.put(replace(port, instance=row.id))
        if run.etcd_gib:
            account.volumes.put(
                VolumeRow(
                    id=f"{row.id}-etcd",
                    seq=account.next_seq(),
                    name=f"{row.name}-etcd",
                    created=row.created,
                    tags=row.tags,
                    zone=row.zone,
                    gib=run.etcd_gib,
                    instance=row.id,
                    ends_with_instance=True,
                )
            )

    # ---- time

    def _wait(self, row: InstanceRow) -> None:
        old = self._timers.pop(row.id, None)
        if old:
            old.cancel()
        if row.due:
            loop = asyncio.get_running_loop()
            self._timers[row.id] = loop.call_later(self._account.left(row.due), self._advance, row.id)

    def _advance(self, instance_id: str) -> None:
        self._timers.pop(instance_id, None)
        row = self._rows.get(instance_id)
        if row is None:
            return
        if row.state is InstanceState.PENDING:
            self._started(row)
        elif row.state is InstanceState.DELETING:
            self._ended(row)
        elif row.state is InstanceState.TERMINATED:
            self._forget(row)

    def _started(self, row: InstanceRow) -> None:
        if row.fault:
            self._change(replace(row, state=InstanceState.ERROR, due=0.0))
            return
        self._change(replace(row, state=InstanceState.RUNNING, due=0.0, boots=1))
        delay = self._boots.delay(row.number)
        if delay is None:
            self.consoles.write(row.id, "[    0.000000] Linux version 6.12 (simulated)")
        elif delay:
            asyncio.get_running_loop().call_later(delay, self._power_on, row.id)
        else:
            self._power_on(row.id)

    def _ended(self, row: InstanceRow) -> None:
        self._release(row)
        visible = self._account.facts.behaviour.terminated_visible
        if visible:
            due = self._account.later(visible)
            self._change(replace(row, state=InstanceState.TERMINATED, due=due))
        else:
            self._forget(row)

    def _release(self, row: InstanceRow) -> None:
        account = self._account
        port = account.ports.get(row.port)
        if port:
            account.ports.put(replace(port, instance=""))
        else:
            self._addresses.free(row.subnet, row.address)
        for volume in account.volumes:
            if volume.instance == row.id and volume.ends_with_instance:
                account.volumes.remove(volume.id)
            elif volume.instance == row.id:
                account.volumes.put(replace(volume, instance=""))

    def _power_on(self, instance_id: str) -> None:
        row = self._rows.get(instance_id)
        if row and row.state is InstanceState.RUNNING and row.zone not in self._account.closed_zones:
            image = self._images.get(row.image)
            assert image is not None
            data, console = self._user_data.get(row.id, b""), self.consoles.writer(row.id)
            self._machines.start(self.view.power(row, image, data, console, self._fetcher(row.number)))

    def _restart(self, instance_id: str) -> None:
        row = self._rows.get(instance_id)
        if row and row.state is InstanceState.RUNNING:
            self._machines.restart(row.id)

    # ---- indices

    def _candidates(self, tags: Mapping[str, str]) -> Iterator[InstanceRow]:
        cluster = tags.get(TAG_CLUSTER)
        if cluster is None:
            return iter(self._rows)
        found = (self._rows.get(key) for key in self._by_cluster.get(cluster, {}))
        return (row for row in found if row is not None)

    def _index(self, row: InstanceRow) -> None:
        if row.state is not InstanceState.TERMINATED:
            self._by_name[(row.group, row.name)] = row.id
        if row.token:
            self._by_token[row.token] = row.id
        self._by_cluster.setdefault(row.tags.get(TAG_CLUSTER, ""), {})[row.id] = None
        self._count(row, 1)

    def _change(self, row: InstanceRow) -> InstanceRow:
        old = self.get(row.id)
        self._count(old, -1)
        self._count(row, 1)
        if row.state is InstanceState.TERMINATED:
            self._unname(row)
        self._rows.put(row)
        self._wait(row)
        return row

    def _count(self, row: InstanceRow, sign: int) -> None:
        if row.state in _ALIVE:
            self._alive += sign
            self._vcpus += sign * row.vcpus

    def _unname(self, row: InstanceRow) -> None:
        if self._by_name.get((row.group, row.name)) == row.id:
            del self._by_name[(row.group, row.name)]

    def _forget(self, row: InstanceRow) -> None:
        self._count(row, -1)
        self._unname(row)
        timer = self._timers.pop(row.id, None)
        if timer:
            timer.cancel()
        self._by_token.pop(row.token, None)
        self._by_cluster.get(row.tags.get(TAG_CLUSTER, ""), {}).pop(row.id, None)
        self._rows.remove(row.id)
        self._user_data.pop(row.id, None)
        self._account.disk.delete(_USER_DATA + row.id)
        self.consoles.forget(row.id)

    def _draw(self, spell: Spell) -> float:
        return max(0.0, spell.mean + spell.spread * self._account.world.random().uniform(-1, 1))
