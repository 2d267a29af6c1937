"""What a user of the store gets: versions, conflicts, privacy, and a readable store after any kill."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.base.errors import Refused
from flatyard.base.world import SeededWorld
from flatyard.store import (
    Damaged,
    KeyMissing,
    Locked,
    LockLost,
    MemoryBucket,
    Record,
    Stale,
    open_memory,
    open_store,
    state_directory,
)
from flatyard.store.bucket import Bucket, Entry, Exclusive
from flatyard.store.directory import DirectoryBucket
from flatyard.store.records import KEPT
from flatyard.store.remote import ObstoreBucket
from flatyard.store.seal import KeyFile, MemoryKey, Passphrase
from flatyard.store.versioned import VersionedStore

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


class Clock:
    """Wall time that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> SeededWorld:
    return SeededWorld(1, clock)


def _memory(tmp: Path, world: SeededWorld) -> Bucket:
    return MemoryBucket()


def _directory(tmp: Path, world: SeededWorld) -> Bucket:
    return DirectoryBucket(tmp / "state", world)


def _obstore(tmp: Path, world: SeededWorld) -> Bucket:
    from obstore.store import MemoryStore

    return ObstoreBucket(MemoryStore(), "memory")


@pytest.fixture(params=[_memory, _directory, _obstore], ids=["memory", "directory", "obstore"])
def store(request: pytest.FixtureRequest, tmp_path: Path, world: SeededWorld) -> Iterator[VersionedStore]:
    yield VersionedStore(request.param(tmp_path, world), MemoryKey(), world)


def test_a_record_is_read_as_it_was_written_and_its_version_grows(store: VersionedStore) -> None:
    async def scenario() -> None:
        assert await store.read("clusters/prod") is None
        assert await store.write("clusters/prod", b"one", expect=None) == 1
        assert await store.write("clusters/prod", b"", expect=1) == 2
        assert await store.read("clusters/prod") == Record(b"", 2)

    run(scenario())


def test_a_write_on_an_old_version_is_refused_and_changes_nothing(store: VersionedStore) -> None:
    async def scenario() -> None:
        await store.write("a", b"one", expect=None)
        await store.write("a", b"two", expect=1)
        for expect in (None, 1, 3):
            with pytest.raises(Stale):
                await store.write("a", b"lost", expect=expect)
        with pytest.raises(Stale):
            await store.write("b", b"new", expect=1)
        assert await store.read("a") == Record(b"two", 2)

    run(scenario())


def test_versions_go_on_after_a_deletion_so_that_an_old_reader_cannot_overwrite_the_new_record(
    store: VersionedStore,
) -> None:
    async def scenario() -> None:
        await store.write("a", b"one", expect=None)
        await store.delete("a")
        await store.delete("a")
        await store.delete("never-there")
        assert await store.read("a") is None
        assert await store.write("a", b"two", expect=None) == 3
        with pytest.raises(Stale):
            await store.write("a", b"lost", expect=1)

    run(scenario())


def test_a_list_names_living_records_below_a_folder_in_order(store: VersionedStore) -> None:
    async def scenario() -> None:
        for key in ("c/b/x", "c/a", "c/b", "cc", "gone"):
            await store.write(key, b"v", expect=None)
        await store.delete("gone")
        await store.write("c/a", b"w", expect=1)
        assert await store.list() == ("c/a", "c/b", "c/b/x", "cc")
        assert await store.list("c") == await store.list("c/") == ("c/a", "c/b", "c/b/x")
        assert await store.list("c/b") == ("c/b/x",)

    run(scenario())


def test_old_values_are_pruned_and_a_deleted_one_leaves_no_bytes(store: VersionedStore) -> None:
    async def scenario() -> None:
        version = None
        for number in range(10):
            version = await store.write("a", b"v%d" % number, expect=version)
        assert len(await store.bucket.entries("records/a")) == KEPT
        await store.delete("a")
        assert [e.size for e in await store.bucket.entries("records/a")] == [0] * KEPT

    run(scenario())


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a b", "@1", "ä", "x" * 513]
)
def test_names_that_no_bucket_could_hold_are_refused(world: SeededWorld, key: str) -> None:
    with pytest.raises(Refused, match="cannot name a record"):
        run(open_memory(world).write(key, b"", expect=None))


def test_of_two_writers_on_the_same_version_one_is_stale(store: VersionedStore) -> None:
    async def scenario() -> list[int | BaseException]:
        await store.write("a", b"start", expect=None)
        writers = (store.write("a", value, expect=1) for value in (b"left", b"right"))
        return await asyncio.gather(*writers, return_exceptions=True)

    results = run(scenario())
    assert sorted(type(r).__name__ for r in results) == ["Stale", "int"]


class Interrupted(MemoryBucket):
    """Runs `before_create` once, just before the first create is granted."""

    def __init__(self) -> None:
        super().__init__()
        self.before_create: Coroutine[object, object, None] | None = None

    async def create(self, path: str, blob: bytes) -> None:
        waiting, self.before_create = self.before_create, None
        if waiting:
            await waiting
        await super().create(path, blob)


@pytest.mark.parametrize("others", [1, 2, KEPT, KEPT + 1, 20])
def test_a_writer_that_slept_while_its_number_was_used_and_pruned_is_stale(
    world: SeededWorld, others: int
) -> None:
    bucket = Interrupted()
    sleeper, busy = (VersionedStore(bucket, MemoryKey(), world) for _ in range(2))

    async def meanwhile() -> None:
        for number in range(others):
            await busy.write("a", b"busy", expect=number + 1)

    async def scenario() -> None:
        await busy.write("a", b"start", expect=None)
        bucket.before_create = meanwhile()
        with pytest.raises(Stale):
            await sleeper.write("a", b"lost", expect=1)
        assert await sleeper.read("a") == Record(b"busy", others + 1)

    run(scenario())


def test_a_writer_that_slept_over_a_deletion_is_stale(world: SeededWorld) -> None:
    bucket = Interrupted()
    sleeper, busy = (VersionedStore(bucket, MemoryKey(), world) for _ in range(2))

    async def meanwhile() -> None:
        await busy.write("a", b"secret", expect=1)
        await busy.delete("a")

    async def scenario() -> None:
        await busy.write("a", b"start", expect=None)
        bucket.before_create = meanwhile()
        with pytest.raises(Stale):
            await sleeper.write("a", b"lost", expect=1)
        assert await sleeper.read("a") is None

    run(scenario())


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A bucket whose process dies before or after a chosen changing call."""

    def __init__(self, bucket: Bucket, dies_at: int, after: bool) -> None:
        self._bucket, self._left, self._after = bucket, dies_at, after

    @property
    def place(self) -> str:
        return self._bucket.place

    async def _call(self, work: Coroutine[object, object, None]) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            work.close()
            raise Killed
        await work
        if self._left == 0:
            raise Killed

    async def create(self, path: str, blob: bytes) -> None:
        await self._call(self._bucket.create(path, blob))

    async def overwrite(self, path: str, blob: bytes) -> None:
        await self._call(self._bucket.overwrite(path, blob))

    async def remove(self, path: str) -> None:
        await self._call(self._bucket.remove(path))

    async def get(self, path: str) -> bytes | None:
        return await self._bucket.get(path)

    async def entries(self, folder: str) -> tuple[Entry, ...]:
        return await self._bucket.entries(folder)

    def exclusive(self, name: str) -> Exclusive | None:
        return self._bucket.exclusive(name)


_STEPS = st.tuples(
    st.sampled_from(["write", "stale", "delete"]),
    st.sampled_from(["a", "b", "a/b"]),
    st.binary(max_size=4),
    st.integers(0, 4),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEPS, max_size=25))
def test_whatever_happens_and_wherever_it_dies_the_store_says_before_or_after(
    steps: list[tuple[str, str, bytes, int, bool]],
) -> None:
    """A model of the store: a dict of values and versions; a killed step may or may not have happened."""

    async def scenario() -> None:
        bucket, world = MemoryBucket(), SeededWorld(1, Clock())
        model: dict[str, Record] = {}
        for action, key, value, dies_at, after in steps:
            store = VersionedStore(Mortal(bucket, dies_at, after), MemoryKey(), world)
            before = model.get(key)
            wanted = await _attempt(store, action, key, value, before)
            found = await VersionedStore(bucket, MemoryKey(), world).read(key)
            assert _same(found, wanted) if dies_at == 0 else (_same(found, before) or _same(found, wanted))
            assert found is None or before is None or found.version >= before.version
            model = {k: v for k, v in {**model, key: found}.items() if v is not None}
            assert await VersionedStore(bucket, MemoryKey(), world).list() == tuple(sorted(model))

    run(scenario())


async def _attempt(
    store: VersionedStore, action: str, key: str, value: bytes, before: Record | None
) -> Record | None:
    expect = before.version if before else None
    try:
        if action == "delete":
            await store.delete(key)
        elif action == "stale":
            with pytest.raises(Stale):
                await store.write(key, value, expect=(expect or 0) + 1)
        else:
            await store.write(key, value, expect=expect)
    except Killed:
        pass
    return {"delete": None, "stale": before}.get(action, Record(value, 0))


def _same(found: Record | None, wanted: Record | None) -> bool:
    return (found and found.value) == (wanted and wanted.value)


# ---- at rest


def test_values_are_sealed_and_a_changed_moved_or_cut_blob_is_noticed(store: VersionedStore) -> None:
    async def scenario() -> None:
        await store.write("a", b"plain secret", expect=None)
        blob = await store.bucket.get("records/a/@/0000000001")
        assert blob is not None and b"plain secret" not in blob
        for damaged in (blob[:-1], blob[:20], b"\0" + blob, blob[:-1] + bytes([blob[-1] ^ 1]), b"x"):
            await store.bucket.overwrite("records/a/@/0000000001", damaged)
            with pytest.raises(Damaged):
                await store.read("a")
        await store.bucket.overwrite("records/b/@/0000000001", blob)
        with pytest.raises(Damaged):
            await store.read("b")

    run(scenario())


def test_the_same_value_never_makes_the_same_bytes(world: SeededWorld) -> None:
    again = SeededWorld(1, Clock())
    left, right = open_memory(world), open_memory(again)

    async def scenario() -> None:
        await left.write("a", b"value", expect=None)
        await right.write("b", b"value", expect=None)
        one = await left.bucket.get("records/a/@/0000000001")
        two = await right.bucket.get("records/b/@/0000000001")
        assert one and two and one[-21:] != two[-21:], "same nonce, so the per-path keys must differ"

    run(scenario())


def test_a_directory_is_private_to_its_owner_from_the_first_byte(tmp_path: Path, world: SeededWorld) -> None:
    old = os.umask(0)
    try:
        run(open_store(str(tmp_path / "deep" / "state"), world).write("a/b", b"v", expect=None))
    finally:
        os.umask(old)
    paths = sorted((tmp_path / "deep").rglob("*"))
    modes = {p.relative_to(tmp_path / "deep").as_posix(): stat.S_IMODE(p.stat().st_mode) for p in paths}
    assert modes == {
        "state": 0o700,
        "state/key": 0o600,
        "state/records": 0o700,
        "state/records/a": 0o700,
        "state/records/a/b": 0o700,
        "state/records/a/b/@": 0o700,
        "state/records/a/b/@/0000000001": 0o600,
    }


def test_a_lost_key_file_is_named_not_replaced(tmp_path: Path, world: SeededWorld) -> None:
    run(open_store(str(tmp_path), world).write("a", b"v", expect=None))
    assert run(open_store(str(tmp_path), world).read("a")) == Record(b"v", 1)
    (tmp_path / "key").unlink()
    with pytest.raises(KeyMissing, match="keyfile"):
        run(open_store(str(tmp_path), world).read("a"))
    (tmp_path / "key").write_text("nonsense")
    with pytest.raises(Damaged, match="is not a key"):
        run(open_store(str(tmp_path), world).read("a"))


def test_the_key_file_of_the_faster_process_counts(tmp_path: Path, world: SeededWorld) -> None:
    left, right = (KeyFile(DirectoryBucket(tmp_path, world), world) for _ in range(2))
    right._load()
    assert left.current() == right.current()


def test_the_key_file_that_came_first_counts_also_for_a_process_that_was_about_to_make_one(
    tmp_path: Path, world: SeededWorld
) -> None:
    class Blind(DirectoryBucket):
        """Does not see the key file that another process has just made."""

        blind = True

        def get_now(self, path: str) -> bytes | None:
            was, self.blind = self.blind, False
            return None if was else super().get_now(path)

    made = KeyFile(DirectoryBucket(tmp_path, world), world).current()
    assert KeyFile(Blind(tmp_path, world), world).current() == made


def test_a_passphrase_opens_what_it_sealed_and_another_does_not(tmp_path: Path, world: SeededWorld) -> None:
    good = {"FLATYARD_STATE": str(tmp_path), "FLATYARD_PASSPHRASE": "correct horse"}
    run(open_store(None, world, good).write("a", b"v", expect=None))
    assert run(open_store(None, world, good).read("a")) == Record(b"v", 1)
    assert not (tmp_path / "key").exists()
    with pytest.raises(KeyMissing, match="passphrase"):
        run(open_store(None, world, {**good, "FLATYARD_PASSPHRASE": "wrong"}).read("a"))
    with pytest.raises(Refused, match="empty"):
        Passphrase("", world)


def test_reprs_show_no_secrets(world: SeededWorld) -> None:
    key = MemoryKey().current()
    assert key.secret.hex() not in repr(key) and repr(key.secret) not in repr(key)
    assert "hush" not in repr(Record(b"hush", 1))


# ---- locks


def test_one_holder_at_a_time_and_the_error_says_who_since_when_and_what_to_do(
    store: VersionedStore, clock: Clock
) -> None:
    async def scenario() -> Locked:
        held = await store.lock("prod", "ada@laptop pid 7", 60)
        clock.seconds = 20
        with pytest.raises(Locked) as refusal:
            await store.lock("prod", "bob@desk pid 9", 60)
        await (await store.lock("test", "bob@desk pid 9", 60)).release()
        await held.release()
        await (await store.lock("prod", "bob@desk pid 9", 60)).release()
        return refusal.value

    text = str(run(scenario()))
    assert "'prod' is locked by ada@laptop pid 7 since 20 s" in text
    assert "next: wait for it to end" in text


def test_a_lock_expires_and_its_late_holder_is_told(clock: Clock, world: SeededWorld) -> None:
    store = open_memory(world)

    async def scenario() -> None:
        first = await store.lock("prod", "ada", 60)
        clock.seconds = 50
        await first.renew()
        clock.seconds = 100
        with pytest.raises(Locked):
            await store.lock("prod", "bob", 60)
        clock.seconds = 111
        second = await store.lock("prod", "bob", 60)
        with pytest.raises(LockLost, match="bob has it now"):
            await first.renew()
        await first.release()
        assert second.holder == "bob" and second.expires == datetime(2026, 1, 1, 0, 2, 51, tzinfo=UTC)
        await second.renew()

    run(scenario())


def test_of_two_that_take_a_lock_at_once_one_is_told_who_has_it(store: VersionedStore) -> None:
    async def scenario() -> list[object]:
        takers = (store.lock("prod", holder, 60) for holder in ("ada", "bob"))
        return list(await asyncio.gather(*takers, return_exceptions=True))

    results = run(scenario())
    assert sorted(type(r).__name__ for r in results) == ["HeldLock", "Locked"]


def test_a_restarted_holder_takes_its_own_lock_again(world: SeededWorld) -> None:
    store = open_memory(world)

    async def scenario() -> None:
        await store.lock("prod", "ada", 60)
        await (await store.lock("prod", "ada", 60)).release()

    run(scenario())


def test_a_killed_process_on_this_machine_leaves_no_lock(tmp_path: Path, world: SeededWorld) -> None:
    """The flock dies with its process, so nobody waits for the record's expiry."""
    store = open_store(str(tmp_path), world)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        held = run(store.lock("prod", "killed", 3600))
        os.write(writer, held.name.encode())
        os.close(writer)
        os.kill(os.getpid(), 9)
    os.close(writer)
    assert os.read(reader, 10) == b"prod"
    os.waitpid(child, 0)
    os.close(reader)
    assert run(store.lock("prod", "next", 60)).holder == "next"


def test_a_killed_writer_leaves_the_old_or_the_new_value(tmp_path: Path, world: SeededWorld) -> None:
    """Real kill -9 at many moments of a process that writes as fast as it can."""
    store = open_store(str(tmp_path), world)
    run(store.write("a", b"0" * 1000, expect=None))
    for _ in range(8):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _write_for_ever(tmp_path, writer)
        os.close(writer)
        assert os.read(reader, 20)
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reader)
        record = run(store.read("a"))
        assert record is not None and record.value == record.value[:1] * 1000
        run(store.write("a", b"x" * 1000, expect=record.version))


def _write_for_ever(path: Path, pipe: int) -> None:
    store = open_store(str(path), SeededWorld(os.getpid(), Clock()))
    while True:
        record = run(store.read("a"))
        assert record is not None
        run(store.write("a", b"%d" % (record.version % 10) * 1000, expect=record.version))
        os.write(pipe, b".")


def test_what_a_killed_writer_left_half_written_is_swept_up(tmp_path: Path, world: SeededWorld) -> None:
    store = open_store(str(tmp_path), world)
    run(store.write("a", b"v", expect=None))
    folder = tmp_path / "records" / "a" / "@"
    node = os.uname().nodename
    dead, alive, foreign = (
        f".tmp-{node}-4194999-aa",
        f".tmp-{node}-{os.getpid()}-bb",
        ".tmp-elsewhere-4194999-cc",
    )
    for name in (dead, alive, foreign):
        (folder / name).write_bytes(b"half")
    assert run(store.read("a")) == Record(b"v", 1) and run(store.list()) == ("a",)
    run(store.write("a", b"w", expect=1))
    assert sorted(p.name for p in folder.glob(".tmp-*")) == sorted([alive, foreign])


# ---- where


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, "/h/.local/state/flatyard"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "/x/flatyard"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/flatyard"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x", "FLATYARD_STATE": "/f"}, "/f"),
        ({"HOME": "/h", "FLATYARD_STATE": "s3://bucket/x"}, "/h/.local/state/flatyard"),
    ],
)
def test_state_lies_where_the_user_said(environ: dict[str, str], expected: str) -> None:
    assert state_directory(environ) == Path(expected)


def test_under_sudo_state_and_files_are_the_invoking_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: SeededWorld
) -> None:
    import pwd

    given: list[tuple[int, int]] = []
    entry = pwd.struct_passwd(("ada", "x", 1234, 4321, "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {1234: entry}[uid])
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((uid, gid)))
    monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: given.append((uid, gid)))
    environ = {"HOME": "/root", "SUDO_UID": "1234", "SUDO_USER": "ada"}
    assert state_directory(environ) == tmp_path / ".local/state/flatyard"
    run(open_store(None, world, environ).write("a", b"v", expect=None))
    made = [p for p in tmp_path.rglob("*")]
    assert len(given) == len(made) and set(given) == {(1234, 4321)}


def test_urls_choose_the_back_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: SeededWorld
) -> None:
    environ = {"HOME": str(tmp_path)}
    assert open_store("memory:", world, environ).place == "memory:"
    assert open_store(f"file://{tmp_path}/a%20b", world, environ).place == f"{tmp_path}/a b"
    assert isinstance(open_store("gs://bucket/x", world, environ).bucket, ObstoreBucket)
    assert open_store(None, world, {**environ, "FLATYARD_STATE": "memory:"}).place == "memory:"
    with pytest.raises(Refused, match="ftp:// is not known"):
        open_store("ftp://x/y", world, environ)
    assert list(tmp_path.iterdir()) == [], "opening writes nothing"
