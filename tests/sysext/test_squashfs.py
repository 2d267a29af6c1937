"""Real images by mksquashfs: the same bytes from anywhere, and what goes in comes out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.sysext.contents import Copy, Folder, Link, Text, contents, read_tree
from flatyard.sysext.extension_tree import extension_contents
from flatyard.sysext.squashfs import write
from flatyard.sysext.squashfs_read import SquashImage

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[1], 8))
root = Path(sys.argv[2])
(root / "usr/bin").mkdir(parents=True)
(root / "usr/lib/tool").mkdir(parents=True)
for number in (range(40) if sys.argv[3] == "up" else reversed(range(40))):
    path = root / f"usr/lib/tool/{number}"
    path.write_bytes(b"%d " % number * 20_000)
    os.utime(path, (int(sys.argv[4]), int(sys.argv[4])))
program = root / "usr/bin/tool"
program.write_bytes(Path(sys.executable).resolve().read_bytes())
program.chmod(0o755 & ~int(sys.argv[1], 8))
os.link(program, root / "usr/bin/same")
os.symlink("tool", root / "usr/bin/link")
from flatyard.cli.main import main
sys.argv = ["flatyard", "sysext", "build", "tool", str(root), "--to", sys.argv[5]]
main()
"""


def built(folder: Path, umask: str, order: str, clock: str, env: dict[str, str]) -> bytes:
    """An image of a tree that a process of its own made and packed."""
    folder.mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **env}
    command = [sys.executable, "-c", BUILD, umask, str(folder / "tree"), order, clock, str(folder)]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=folder)
    return (folder / "tool.raw").read_bytes()


@pytest.mark.emulated
def test_the_same_tree_gives_the_same_bytes_in_other_folders_with_other_clocks_and_umasks(
    mksquashfs, tmp_path
) -> None:
    here = built(tmp_path / "here", "022", "up", "1000000000", {"TZ": "Asia/Tokyo", "LC_ALL": "C"})
    there = built(
        tmp_path / "a" / "longer path",
        "077",
        "down",
        "2000000000",
        {"SOURCE_DATE_EPOCH": "12345", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"},
    )
    assert here == there


@pytest.mark.emulated
def test_no_stamp_is_of_the_clock(mksquashfs, tmp_path) -> None:
    tree = contents({"usr/x": Text(b"x" * 1000)})
    first = write(tree, tmp_path / "first.raw")
    with (tmp_path / "first.raw").open("rb") as file, SquashImage(file) as image:
        assert image.summary.made == 0
        assert image.summary.compressor == "zstd" and image.summary.block == 128 * 1024
    assert write(tree, tmp_path / "other/second.raw").sha256 == first.sha256


@pytest.mark.emulated
def test_what_goes_in_comes_out(mksquashfs, tmp_path) -> None:
    odd = "usr/share/ä b\nc"
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 3000)
    source = Copy(tmp_path / "bytes", 768_000, 0o4755)
    tree = contents(
        {
            "usr/empty": Folder(0o1777),
            "usr/bin/one": source,
            "usr/bin/two": source,
            odd: Text(b"text"),
            "usr/" + "long/" * 40 + "name": Text(b"", 0o600),
            "usr/link": Link("/var/" + "far/" * 40),
        }
    )
    image = write(tree, tmp_path / "x.raw")
    assert (image.size % 4096, oct((tmp_path / "x.raw").stat().st_mode & 0o777)) == (0, "0o644")
    with image.path.open("rb") as file, SquashImage(file) as squashed:
        nodes = {node.path: node for node in squashed.nodes()}
        assert set(nodes) == {"", *tree.entries}
        assert squashed.content("usr/bin/one") == bytes(range(256)) * 3000 == squashed.content("usr/bin/two")
        assert squashed.content(odd) == b"text"
    assert (nodes["usr/empty"].mode, nodes["usr/bin/one"].mode, nodes[""].mode) == (0o1777, 0o4755, 0o755)
    assert nodes["usr/link"].target == "/var/" + "far/" * 40
    assert {(node.uid, node.gid) for node in nodes.values()} == {(0, 0)}
    assert image.size < 768_000, "two names of one file are one file"


ODD = (" lead", "trail ", "a b", 'q"u', "b\\s", "end\\", "nl\nx", "#c", "-d", "\udcff", "ä", "tab\t", "$(x)")


@pytest.mark.emulated
@pytest.mark.parametrize("mode", [0o644, 0o664])
def test_names_may_hold_whatever_a_file_system_allows(mksquashfs, tmp_path, mode) -> None:
    for name in ODD:
        folder = tmp_path / "tree" / f"usr{name}"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(os.fsencode(name))
        (folder / name).chmod(mode)
        (folder / "same").hardlink_to(folder / name)
        (folder / "link").symlink_to(name)
    tree = read_tree(tmp_path / "tree")
    image = write(tree, tmp_path / "x.raw")
    with image.path.open("rb") as file, SquashImage(file) as squashed:
        nodes = {node.path: node for node in squashed.nodes()}
        assert set(nodes) == {"", *tree.entries}
        for name in ODD:
            assert squashed.content(f"usr{name}/{name}") == os.fsencode(name)
            assert squashed.content(f"usr{name}/same") == os.fsencode(name)
            assert (nodes[f"usr{name}/{name}"].mode, nodes[f"usr{name}/link"].target) == (0o644, name)


@pytest.mark.emulated
def test_how_a_file_is_on_disk_does_not_show(mksquashfs, tmp_path, monkeypatch) -> None:
    """Modes, links from elsewhere, holes, times, a source that is a link, another file system."""
    source = tmp_path / "bytes"
    source.write_bytes(bytes(400_000) + b"end")
    source.chmod(0o755)
    tree = contents({"usr/a": Copy(source, 400_003), "usr/b": Copy(source, 400_003), "usr/c": Text(b"c")})
    first = write(tree, tmp_path / "first.raw").sha256

    def same(found: Path) -> bool:
        again = contents({**tree.entries, "usr/a": Copy(found, 400_003), "usr/b": Copy(found, 400_003)})
        return write(again, tmp_path / "again.raw").sha256 == first

    (tmp_path / "elsewhere").hardlink_to(source)
    os.utime(source, (5, 5))
    assert same(source)
    (tmp_path / "link").symlink_to(source)
    assert same(tmp_path / "link")
    with (tmp_path / "hole").open("wb") as file:
        file.seek(400_000)
        file.write(b"end")
    (tmp_path / "hole").chmod(0o755)
    assert same(tmp_path / "hole")
    source.chmod(0o600)
    assert same(source)
    assert oct(source.stat().st_mode & 0o7777) == "0o600" and source.stat().st_nlink == 2

    link = os.link

    def elsewhere(source: str, target: str, **how: bool) -> None:
        """As between two file systems: only what is staged can be linked."""
        if ".again.raw." not in os.fspath(source):
            raise OSError(18, "Invalid cross-device link")
        link(source, target, **how)

    monkeypatch.setattr(os, "link", elsewhere)
    assert same(source)


@pytest.mark.emulated
def test_how_many_processors_pack_does_not_show(mksquashfs, tmp_path, monkeypatch) -> None:
    parts = {f"usr/{number}": Text(b"%d " % number * 90_000) for number in range(30)}
    tree = contents({**parts, "usr/same": parts["usr/7"]})
    first = write(tree, tmp_path / "first.raw").sha256
    monkeypatch.setattr(os, "cpu_count", lambda: 100)
    assert write(tree, tmp_path / "again.raw").sha256 == first


@pytest.mark.emulated
def test_a_tree_that_holds_nothing_is_an_image(mksquashfs, tmp_path) -> None:
    image = write(contents({}), tmp_path / "x.raw")
    with image.path.open("rb") as file, SquashImage(file) as squashed:
        assert [node.path for node in squashed.nodes()] == [""]


@pytest.mark.emulated
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_many_files_are_packed(mksquashfs, tmp_path, mode) -> None:
    (tmp_path / "bytes").write_bytes(b"x")
    for number in range(3000):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
        (tmp_path / str(number)).chmod(mode)
    entries = {f"usr/{n}": Copy(tmp_path / str(n), len(str(n))) for n in range(3000)}
    image = write(contents(entries), tmp_path / "x.raw")
    with image.path.open("rb") as file, SquashImage(file) as squashed:
        assert {node.path for node in squashed.nodes()} == {"", "usr", *entries}
        assert squashed.content("usr/2999") == b"2999"


def test_nothing_is_written_below_a_link(tmp_path) -> None:
    (tmp_path / "away").mkdir()
    tree = contents({"usr/lib": Link(str(tmp_path / "away")), "usr/lib/x": Text(b"")})
    with pytest.raises(Refused, match="usr/lib/x is to lie in usr/lib, which is not a directory"):
        write(tree, tmp_path / "x.raw")
    assert not list((tmp_path / "away").iterdir())


@pytest.mark.emulated
def test_extended_attributes_of_the_tree_stay_outside(mksquashfs, tmp_path) -> None:
    (tmp_path / "tree/usr/share").mkdir(parents=True)
    (tmp_path / "tree/usr/share/x").write_text("x")
    try:
        os.setxattr(tmp_path / "tree/usr/share", "user.overlay.opaque", b"y")
    except OSError as problem:
        pytest.skip(f"this file system has no extended attributes: {problem}")
    tree, _ = extension_contents("tool", read_tree(tmp_path / "tree"))
    image = write(tree, tmp_path / "tool.raw")
    with image.path.open("rb") as file, SquashImage(file) as squashed:
        assert all(not node.xattrs for node in squashed.nodes())


@pytest.mark.emulated
def test_a_file_that_changes_meanwhile_leaves_the_old_image(mksquashfs, tmp_path) -> None:
    target = tmp_path / "x.raw"
    target.write_bytes(b"the old one")
    (tmp_path / "growing").write_bytes(b"12345")
    with pytest.raises(Failed, match="changed while it was read"):
        write(contents({"usr/x": Copy(tmp_path / "growing", 4)}), target)
    assert target.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing", "x.raw"]


@pytest.mark.parametrize("mode", [0o755, 0o700])
@pytest.mark.parametrize("change", ["echo 6 >>", "rm", "chmod 711", "touch"])
def test_a_file_that_changes_while_mksquashfs_reads_it_leaves_the_old_image(
    tmp_path, monkeypatch, mode, change
) -> None:
    (tmp_path / "x.raw").write_bytes(b"the old one")
    program = tmp_path / "program"
    program.write_bytes(b"12345")
    program.chmod(mode)
    os.utime(program, (5, 5))
    path = os.environ["PATH"]
    fake(tmp_path / "bin", f"PATH={path}\n{change} {program}\necho image >$2", monkeypatch)
    with pytest.raises(Failed, match=r"changed while it was read|program cannot be read"):
        write(contents({"usr/x": Copy(program, 5)}), tmp_path / "x.raw")
    assert (tmp_path / "x.raw").read_bytes() == b"the old one"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_that_is_gone_is_named(tmp_path, monkeypatch) -> None:
    fake(tmp_path / "bin", "exit 0", monkeypatch)
    with pytest.raises(Failed, match="gone cannot be read"):
        write(contents({"usr/x": Copy(tmp_path / "gone", 5)}), tmp_path / "x.raw")


def test_a_file_that_this_user_may_not_read_is_named(tmp_path, monkeypatch) -> None:
    fake(tmp_path / "bin", "exit 0", monkeypatch)
    (tmp_path / "secret").write_bytes(b"12345")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("secret"))
    with pytest.raises(Failed, match="secret cannot be read") as problem:
        write(contents({"usr/x": Copy(tmp_path / "secret", 5)}), tmp_path / "x.raw")
    assert problem.value.why == "this user may not"


def test_a_full_disk_is_told_before_mksquashfs_starts(tmp_path, monkeypatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    fake(tmp_path / "bin", "exit 0", monkeypatch)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Failed, match="usr/x was not made ready for mksquashfs: No space left") as problem:
        write(TREE, tmp_path / "x.raw")
    assert problem.value.next.startswith("make room")


def test_who_was_killed_is_said_to_be(tmp_path, monkeypatch) -> None:
    fake(tmp_path / "bin", "kill -9 $$", monkeypatch)
    with pytest.raises(Failed, match="mksquashfs was killed by signal 9"):
        write(TREE, tmp_path / "x.raw")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def fake(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mksquashfs of ours in front of PATH."""
    folder.mkdir()
    (folder / "mksquashfs").write_text(f"#!{shutil.which('sh')}\n{text}\n")
    (folder / "mksquashfs").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


TREE = contents({"usr/x": Text(b"x" * 500_000)})


def test_without_mksquashfs_there_is_the_command_that_installs_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="there is no mksquashfs") as problem:
        write(TREE, tmp_path / "x.raw")
    assert problem.value.next == "apt-get install squashfs-tools"


def test_an_old_mksquashfs_is_refused(tmp_path, monkeypatch) -> None:
    version = 'case "$1" in -version) echo "mksquashfs version 4.4 (2019/08/29)"; exit;; esac'
    fake(tmp_path / "bin", f"{version}\necho 'Unsupported type l'; exit 1", monkeypatch)
    with pytest.raises(Refused, match=r"too old: version 4\.4"):
        write(TREE, tmp_path / "x.raw")


def test_its_last_words_are_told_and_the_old_image_stays(tmp_path, monkeypatch) -> None:
    (tmp_path / "x.raw").write_bytes(b"the old one")
    words = "echo 'Write failed because No space left on device' >&2; exit 1"
    version = 'case "$1" in -version) echo "mksquashfs version 4.6.1 (2023)"; exit;; esac'
    fake(tmp_path / "bin", f"{version}\n{words}", monkeypatch)
    with pytest.raises(Failed, match="mksquashfs ended with 1") as problem:
        write(TREE, tmp_path / "x.raw")
    assert "No space left on device" in problem.value.why and problem.value.next.startswith("make room")
    assert (tmp_path / "x.raw").read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "x.raw"]
