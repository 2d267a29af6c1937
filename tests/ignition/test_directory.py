"""A directory on disk as a root: what it refuses, what it leaves, and what never gets out of it."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flatyard.ignition import root_directory
from flatyard.ignition.root_directory import DirectoryRoot
from flatyard.ignition.tree import NodeKind, RootError

IS_ROOT = os.geteuid() == 0
WRITING = {
    "mkdir": lambda root, path: root.mkdir(path, 0o755),
    "write": lambda root, path: root.write(path, b"x", 0o644),
    "append": lambda root, path: root.append(path, b"x"),
    "symlink": lambda root, path: root.symlink(path, "x"),
    "link": lambda root, path: root.link(path, "/plain"),
    "chmod": lambda root, path: root.chmod(path, 0o700),
    "chown": lambda root, path: root.chown(path, 0, 0),
    "rename": lambda root, path: root.rename("/plain", path),
    "read": lambda root, path: root.read(path),
    "listdir": lambda root, path: root.listdir(path),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with one file, beside what must not be touched."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "plain").write_text("plain\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("outside\n")
    return folder


@pytest.fixture
def root(folder: Path) -> Iterator[DirectoryRoot]:
    with DirectoryRoot(folder) as root:
        yield root


def outside(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything about the canary that any access but a look would change."""
    found = {}
    for path in (folder.parent / "outside", folder.parent / "outside/file"):
        there = path.lstat()
        found[path.name] = (
            there.st_mode,
            there.st_size,
            there.st_mtime_ns,
            there.st_ctime_ns,
            there.st_nlink,
        )
    return found


@pytest.mark.parametrize("target", ["../outside", "{outside}", "../root/../outside"])
@pytest.mark.parametrize("call", WRITING)
def test_no_call_goes_through_a_link_on_the_way(root, folder, call, target):
    (folder / "way").symlink_to(target.format(outside=folder.parent / "outside"))
    before = outside(folder)
    for path in ("/way/new", "/way/file"):
        with pytest.raises(RootError, match=r"not a directory|no such file"):
            WRITING[call](root, path)
    root.remove("/way/file")
    assert root.lstat("/way/file") is None
    assert outside(folder) == before


@pytest.mark.parametrize("call", ["append", "read", "listdir", "chmod"])
def test_no_call_follows_a_link_at_the_end(root, folder, call):
    (folder / "end").symlink_to("../outside/file")
    before = outside(folder)
    with pytest.raises(RootError):
        WRITING[call](root, "/end")
    root.chown("/end", os.geteuid(), os.getegid())
    root.write("/end", b"mine", 0o600)
    assert (folder / "end").read_bytes() == b"mine" and not (folder / "end").is_symlink()
    assert outside(folder) == before


@pytest.mark.parametrize(
    "path", ["/../outside/file", "/./plain", "/plain/", "//plain", "plain", "", "/a/../plain"]
)
@pytest.mark.parametrize("call", WRITING)
def test_a_path_that_is_not_canonical_is_refused(root, folder, call, path):
    before = outside(folder)
    with pytest.raises(RootError):
        WRITING[call](root, path)
    assert outside(folder) == before


@pytest.mark.parametrize("path", ["/a\0b", "/\ud800", "/" + "x" * 256, "/y/" * 2000])
@pytest.mark.parametrize("call", WRITING)
def test_a_path_that_no_kernel_takes_is_refused(root, call, path):
    with pytest.raises(RootError):
        WRITING[call](root, path)


def test_a_link_that_is_put_in_the_way_meanwhile_is_not_followed(root, folder, monkeypatch):
    (folder / "way").mkdir()
    before = outside(folder)
    walk = root._walk

    def swapped(parts: list[str]) -> int:
        fd = walk(parts[:-1])
        (folder / "way").rmdir()
        (folder / "way").symlink_to("../outside")
        try:
            return os.open(parts[-1], root_directory._STEP, dir_fd=fd)
        finally:
            os.close(fd)

    monkeypatch.setattr(root, "_walk", swapped)
    with pytest.raises(RootError, match="not a directory"):
        root.write("/way/file", b"x", 0o644)
    assert outside(folder) == before


@pytest.mark.timeout(10)
def test_pipes_and_sockets_are_looked_at_and_never_opened(root, folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    for name in ("pipe", "socket"):
        for call in ("read", "append"):
            with pytest.raises(RootError, match="not a regular file"):
                WRITING[call](root, f"/{name}")
    pipe, listener = root.lstat("/pipe"), root.lstat("/socket")
    assert pipe is not None and pipe.kind is NodeKind.FIFO
    assert listener is not None and listener.kind is NodeKind.SOCKET
    root.remove("/pipe")
    root.write("/socket", b"now a file", 0o644)
    assert sorted(path.name for path in folder.iterdir()) == ["plain", "socket"]


def test_modes_are_exact_whatever_the_umask(root, folder):
    old = os.umask(0o077)
    try:
        root.mkdir("/d", 0o755)
        root.write("/d/f", b"", 0o666)
    finally:
        os.umask(old)
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("d", "d/f")] == [0o755, 0o666]


def fail(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_half_file(root, folder, monkeypatch):
    real = os.write
    left = iter([3])

    def half(fd: int, data: bytes) -> int:
        return real(fd, data[: next(left, 0) or fail()])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(RootError, match="write /new: no space left on device") as refused:
        root.write("/new", b"123456", 0o644)
    assert refused.value.errno == errno.ENOSPC
    left = iter([3])
    with pytest.raises(RootError, match="append to /plain: no space left on device"):
        root.append("/plain", b"123456")
    assert [path.name for path in folder.iterdir()] == ["plain"]
    assert (folder / "plain").read_text() == "plain\n"


def test_whole_directories_go_and_links_in_them_are_not_followed(root, folder):
    (folder / "d/e").mkdir(parents=True)
    (folder / "d/e/out").symlink_to(folder.parent / "outside")
    (folder / "d/e").chmod(0o500)
    (folder / "d").chmod(0o300)
    before = outside(folder)
    root.remove("/d")
    assert [path.name for path in folder.iterdir()] == ["plain"] and outside(folder) == before


def test_the_root_itself_and_what_is_mounted_below_it_are_not_removed(root, folder, monkeypatch):
    with pytest.raises(RootError, match="the root itself is not removed"):
        root.remove("/")
    (folder / "mnt").mkdir()
    (folder / "mnt/file").touch()
    inode = (folder / "mnt").stat().st_ino
    monkeypatch.setattr(
        root_directory, "_mount", lambda fd: "other" if os.fstat(fd).st_ino == inode else "this"
    )
    with pytest.raises(RootError, match="remove /mnt: a filesystem is mounted there"):
        root.remove("/mnt")
    assert (folder / "mnt/file").exists()


def test_a_directory_nested_too_deep_is_refused(root, folder):
    deep = folder / "/".join(["d"] * (root_directory.DEPTH_LIMIT + 2))
    deep.mkdir(parents=True)
    with pytest.raises(RootError, match="deeper than 256 levels"):
        root.remove("/d")


def test_names_of_one_inode_are_known(root):
    root.link("/other", "/plain")
    first, second = root.lstat("/plain"), root.lstat("/other")
    assert first == second and first is not None and first.inode
    with pytest.raises(RootError, match="file exists"):
        root.link("/other", "/plain")
    root.mkdir("/d", 0o755)
    with pytest.raises(RootError, match="operation not permitted"):
        root.link("/e", "/d")


def test_names_that_are_not_utf8_come_and_go(root, folder):
    name = os.fsdecode(b"caf\xe9")
    (folder / name).write_bytes(b"x")
    assert root.listdir("/") == (name, "plain")
    assert root.read(f"/{name}") == b"x"
    root.remove(f"/{name}")
    assert root.listdir("/") == ("plain",)


def test_an_id_beyond_what_the_kernel_has_is_refused(root):
    with pytest.raises(RootError, match="invalid argument"):
        root.chown("/plain", 1 << 40, 0)


def test_a_large_file_is_not_read_into_memory(root, folder, monkeypatch):
    monkeypatch.setattr(root_directory, "READ_LIMIT", 5)
    with pytest.raises(RootError, match="read /plain: larger than 5 bytes"):
        root.read("/plain")


def test_the_running_system_is_recognised(root):
    assert not root.is_whole_machine
    with DirectoryRoot("/") as whole:
        assert whole.is_whole_machine


@pytest.mark.parametrize("name", ["nothing", "plain"])
def test_what_is_no_directory_cannot_be_a_root(folder, name):
    with pytest.raises(RootError, match=r"open .*: (no such file|not a directory)"):
        DirectoryRoot(folder / name)


def test_every_descriptor_is_closed(folder):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with DirectoryRoot(folder) as root:
        root.mkdir("/d", 0o000)
        for call in WRITING.values():
            for path in ("/d/x", "/plain/x", "/nothing/x"):
                try:
                    call(root, path)
                except RootError:
                    continue
        root.remove("/d")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- owners


def test_owners_are_set_or_remembered(root, folder):
    root.chown("/plain", 4321, 1234)
    node = root.lstat("/plain")
    assert node is not None and (node.uid, node.gid) == (4321, 1234)
    there = (folder / "plain").stat()
    assert root.has_owner("/plain") == IS_ROOT == ((there.st_uid, there.st_gid) == (4321, 1234))


def test_a_new_owner_takes_the_special_bits_away(root, folder):
    (folder / "plain").chmod(0o6755)
    root.chown("/plain", 4321, 1234)
    assert stat.S_IMODE((folder / "plain").stat().st_mode) == 0o755


def test_a_new_entry_is_root_s_also_where_an_inode_number_comes_back(root):
    for number in range(50):
        root.write("/again", b"", 0o644)
        node = root.lstat("/again")
        assert node is not None and (node.uid, node.gid) == (0, 0)
        root.chown("/again", 1000 + number, 7)
        root.remove("/again")


def test_a_user_s_own_directories_without_permissions_are_lent(folder):
    (folder / "closed").mkdir(mode=0o500)
    (folder / "locked").write_text("1")
    (folder / "locked").chmod(0o000)
    with DirectoryRoot(folder) as root:
        root.write("/closed/f", b"", 0o644)
        root.append("/locked", b"2")
        modes = [node.mode for node in map(root.lstat, ("/closed", "/locked")) if node]
        assert modes == [0o500, 0o000]
        root.chmod("/closed", 0o555)
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("closed", "locked")] == [0o555, 0o000]
    (folder / "locked").chmod(0o600)
    assert (folder / "locked").read_text() == "12"


@pytest.fixture
def nobody() -> Iterator[None]:
    """Not root for the length of a test."""
    if IS_ROOT:
        os.seteuid(65534)
    yield
    if IS_ROOT:
        os.seteuid(0)


def test_what_belongs_to_somebody_else_stays_closed(nobody):
    with DirectoryRoot("/etc") as root, pytest.raises(RootError, match="permission denied"):
        root.write("/flatyard-test", b"", 0o644)
