"""What clusters change of this machine is put back by the last one's end, wherever anything was killed before."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace

import pytest

from flatyard.clouds.cloud import Instance, InstanceState
from flatyard.clouds.local import kernel, processes
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.folders import Phase, is_held

pytestmark = pytest.mark.real
EFFECTS = frozenset("open os.kill os.mkdir os.rename os.remove os.rmdir subprocess.Popen fcntl.ioctl".split())
"""What the interpreter tells of before a program changes anything outside of itself (sys.addaudithook)."""
CONFIG = json.dumps({"ignition": {"version": "3.4.0"}}).encode()


def is_over(work: Coroutine[object, object, object], step: int) -> bool:
    """Do some work in a process that is killed before its `step`th effect; whether it had fewer."""
    child = os.fork()
    if child == 0:
        sys.addaudithook(Killer(step))
        asyncio.run(work)
        os._exit(0)
    work.close()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code == 0


class Killer:
    """Ends its own process, as the kernel would, before it changes anything for the `left`th time."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EFFECTS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def down(cloud, ref) -> None:
    """As the engine does it: verb by verb, then what the sweep still finds."""
    for instance in await cloud.machines(ref):
        await cloud.delete(ref, instance)
    await cloud.delete_endpoint(ref)
    await cloud.delete_network(ref)
    assert await cloud.sweep(ref) == ()


@pytest.mark.parametrize("what", ["making", "removing"])
def test_a_network_is_taken_away_wherever_its_maker_or_remover_was_killed(bed, stock, what):
    bed.cloud = LocalCloud(replace(bed.place, nat=True))
    before, step, over = stock(), 0, False
    while not over:
        step += 1
        work = bed.cloud.ensure_network(bed.ref, bed.cluster)
        if what == "removing":
            asyncio.run(work)
            work = bed.cloud.delete_network(bed.ref)
        over = is_over(work, step)
        asyncio.run(down(bed.cloud, bed.ref))
        assert asyncio.run(stock.left(before)) == {}, f"killed before effect {step} of {what} it"
    assert step > 10, "each effect is counted"


def test_a_cluster_that_lost_all_its_files_is_found_and_taken_away(tiny, stock):
    async def main() -> None:
        before = stock()
        made = await tiny.create(CONFIG)
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        shutil.rmtree(tiny.place.home)
        await down(tiny.cloud, tiny.ref)
        assert await stock.left(before) == {}

    asyncio.run(main())


def points(work: Callable[[], Coroutine[object, object, object]]) -> Iterator[int]:
    """Kill some work earlier and later, some points near each other first: the points at which it was killed."""
    step = 1
    while not is_over(work(), step):
        yield step
        step += max(1, step // 3)


@pytest.mark.parametrize("finisher", ["another delete", "down", "the next attempt"])
def test_a_machine_whose_deletion_was_killed_is_gone_after_what_comes_next(tiny, stock, finisher):
    before = stock()

    async def make() -> Instance:
        made = await tiny.create(CONFIG)
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        return made

    async def deleted() -> None:
        await tiny.cloud.delete(tiny.ref, tiny.shown)

    async def finish() -> None:
        if finisher == "another delete":
            await deleted()
            assert await tiny.cloud.machines(tiny.ref) == ()
        elif finisher == "the next attempt":
            second = await tiny.create(CONFIG, attempt=2)
            await tiny.until(lambda: tiny.said(second, "tiny init is up"), "the boot of the next attempt")
            assert [i.id for i in await tiny.cloud.machines(tiny.ref)] == [second.id]
            assert not processes.serving(processes.SUPERVISOR, tiny.folder(tiny.shown).path)
        await down(tiny.cloud, tiny.ref)
        assert await stock.left(before) == {}

    tiny.shown = asyncio.run(make())
    killed = 0
    for step in points(deleted):
        killed += 1
        listed = asyncio.run(tiny.cloud.machines(tiny.ref))
        if step == 1:
            assert [i.state for i in listed] == [InstanceState.RUNNING], "nothing was done yet"
            continue
        assert [i.state for i in listed] in ([InstanceState.DELETING], []), step
        asyncio.run(finish())
        tiny.shown = asyncio.run(make())
    assert killed > 5
    asyncio.run(down(tiny.cloud, tiny.ref))
    assert asyncio.run(stock.left(before)) == {}


@pytest.mark.parametrize("lost", ["machine.json", "state.json", "lock", "devices", "root", "root/var", "."])
def test_a_machine_that_lost_a_part_is_deleted_whole(tiny, stock, lost):
    async def main() -> None:
        before = stock()
        made = await tiny.create(CONFIG)
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        part = tiny.folder(made).path / lost
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        await down(tiny.cloud, tiny.ref)
        assert await stock.left(before) == {}

    asyncio.run(main())


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_machine_that_lost_what_it_was_is_made_anew(tiny, stock, attempt):
    """By the same request, and by the next: no list shows it any more, and it still runs."""

    async def main() -> None:
        before = stock()
        made = await tiny.create(CONFIG)
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        folder, first = tiny.folder(made), tiny.folder(made).state().pid
        (folder.path / "machine.json").unlink()
        again = await tiny.create(CONFIG, attempt)
        assert not processes.command_line(first)
        await tiny.until(lambda: tiny.said(again, "tiny init is up"), "the boot")
        assert folder.path.exists() == (attempt == 1)
        await down(tiny.cloud, tiny.ref)
        assert await stock.left(before) == {}

    asyncio.run(main())


def test_a_machine_whose_state_is_lost_is_not_made_anew_over_its_disk(tiny, stock):
    async def main() -> None:
        before = stock()
        made = await tiny.create(CONFIG)
        await tiny.until(lambda: tiny.said(made, "tiny init is up"), "the boot")
        folder = tiny.folder(made)
        (folder.root / "var/data").write_text("precious")
        os.kill(folder.state().pid, signal.SIGKILL)
        await tiny.until(lambda: not is_held(folder.lock), "the supervisor's end")
        (folder.path / "state.json").unlink()
        await tiny.create(CONFIG)
        await tiny.until(lambda: folder.state().phase is Phase.FAILED, "the failure")
        assert await tiny.state() is InstanceState.ERROR
        assert (folder.root / "var/data").read_text() == "precious"
        await down(tiny.cloud, tiny.ref)
        assert await stock.left(before) == {}

    asyncio.run(main())


def test_settings_are_put_back_by_the_last_cluster_whatever_its_home_is(bed, stock):
    """Both come and go at the same time, so that each is the last one now and then."""
    elsewhere = LocalCloud(replace(bed.place, home=bed.place.home.parent / "elsewhere/local"))

    async def come_and_go(cloud, ref) -> None:
        await cloud.ensure_network(ref, bed.cluster)
        assert int(kernel.setting(kernel.WATCHERS)) >= kernel.ENOUGH_WATCHERS
        await down(cloud, ref)

    async def main() -> None:
        before = stock()
        for _ in range(5):
            await asyncio.gather(come_and_go(bed.cloud, bed.ref), come_and_go(elsewhere, bed.other))
        assert await stock.left(before) == {}

    asyncio.run(main())


def test_a_setting_that_somebody_else_changes_meanwhile_stays(tmp_path, monkeypatch):
    values = {"x": "1", "y": "1"}
    monkeypatch.setattr(kernel, "FOLDER", tmp_path / "run")
    monkeypatch.setattr(kernel, "setting", values.get)
    monkeypatch.setattr(kernel, "_set", values.__setitem__)

    async def main() -> None:
        async with kernel.alone():
            kernel.remember()
            kernel.change("x", "2")
            kernel.change("y", "2")
        assert values == {"x": "2", "y": "2"}
        values["y"] = "3"
        async with kernel.alone():
            kernel.restore()
        assert values == {"x": "1", "y": "3"}
        assert not kernel.FOLDER.exists()

    asyncio.run(main())


def test_a_record_of_an_earlier_boot_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "FOLDER", tmp_path)
    monkeypatch.setattr(kernel, "_boot", lambda: "first")
    kernel.remember()
    assert kernel.before() is not None
    monkeypatch.setattr(kernel, "_boot", lambda: "second")
    assert kernel.before() is None


def test_what_another_test_makes_meanwhile_is_no_trace(stock):
    """Files run side by side: one closed the machines by a table of its own, and two tests beside it failed."""
    before = stock()
    table, link = f"flatyard-test-{os.getpid()}", f"fyt{os.getpid()}"
    subprocess.run(("nft", "add", "table", "inet", table), check=True)
    subprocess.run(("ip", "link", "add", link, "type", "bridge"), check=True)
    try:
        subprocess.run(("ip", "link", "set", link, "alias", table), check=True)
        assert stock().left(before) == {}
    finally:
        subprocess.run(("ip", "link", "delete", link), check=True)
        subprocess.run(("nft", "delete", "table", "inet", table), check=True)
