"""The reference's 517 cases, carried out on a directory on disk, and random ones beside what must not change.

As root everything is compared as it is on disk, owners included. As another user contents, modes and links are
compared as they are on disk, and owners as the root says them: those that were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.ignition.apply import ApplyError, Options, apply
from flatyard.ignition.changes import Noting
from flatyard.ignition.fetch import FetchError
from flatyard.ignition.root_directory import DirectoryRoot
from flatyard.ignition.tree import Node, NodeKind, Root, RootError, Tree
from flatyard.ignition.types import (
    Config,
    Directory,
    Dropin,
    File,
    Group,
    Link,
    Owner,
    Passwd,
    Resource,
    Storage,
    Systemd,
    Unit,
    User,
)


def _golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "golden_apply", Path(__file__).with_name("test_apply_golden.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = _golden()
IS_ROOT = os.geteuid() == 0


def put(root: DirectoryRoot, folder: Path, path: str, node: Node) -> None:
    """Makes one inode as a tree in memory has it."""
    if node.kind is NodeKind.DIRECTORY:
        if path != "/":
            root.mkdir(path, 0o700)
    elif node.kind is NodeKind.FILE:
        root.write(path, node.content, 0o600)
    elif node.kind is NodeKind.LINK:
        root.symlink(path, node.target)
    else:
        os.mkfifo(folder / ".pipe")
        root.rename("/.pipe", path)
    root.chown(path, node.uid, node.gid)
    if node.kind is not NodeKind.LINK:
        root.chmod(path, node.mode)


Stamp = tuple[int, ...]


class Bench:
    """One directory for all cases: after each, what changed is put back as it was."""

    def __init__(self, folder: Path, base: Tree) -> None:
        self.folder, self.base = folder, base
        self.root = DirectoryRoot(folder)
        self.nodes = dict(base.walk())
        for path, node in self.nodes.items():
            put(self.root, folder, path, node)
        self.before = self.stamps()
        self.seen: tuple[dict[str, Stamp], list[str]] | None = None

    def stamp(self, there: os.stat_result) -> Stamp:
        """What differs for an inode that anything was done to, if only in name."""
        owner = (0, 0) if IS_ROOT else self.root._owner(there)
        return there.st_ino, there.st_mode, there.st_nlink, there.st_ctime_ns, *owner

    def stamps(self) -> dict[str, Stamp]:
        """The stamps of the directory and of everything below it, by path."""
        found = {"/": self.stamp(self.folder.lstat())}
        pending = [""]
        while pending:
            path = pending.pop()
            with os.scandir(f"{self.folder}{path}/") as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}"
                    found[below] = self.stamp(entry.stat(follow_symlinks=False))
                    mode = found[below][1]
                    if stat.S_ISDIR(mode) and (IS_ROOT or mode & 0o500 == 0o500):
                        pending.append(below)
        return found

    def look(self) -> tuple[dict[str, Stamp], list[str]]:
        """What is there now, and which of it is new or changed."""
        now = self.stamps()
        return now, sorted(path for path, stamp in now.items() if stamp != self.before.get(path))

    def after(self) -> Tree:
        """What the directory has now, as a tree in memory."""
        tree = self.base.overlay()
        now, changed = self.seen = self.look()
        for path in sorted(self.before.keys() - now.keys(), reverse=True):
            tree.remove(path)
        for path in changed:
            node = self.root.lstat(path)
            assert node is not None
            tree.remove(path) if node.kind is not NodeKind.DIRECTORY else None
            content = self.root.read(path) if node.kind is NodeKind.FILE else b""
            tree._put(path, Node(node.kind, node.mode, node.uid, node.gid, content, node.target, node.inode))
        return tree

    def restore(self) -> None:
        """Puts back what was changed; only that and what holds it is looked at again."""
        now, changed = self.seen or self.look()
        self.seen = None
        touched = sorted({*changed, *(self.before.keys() - now.keys())} & self.before.keys())
        for path in changed:
            is_directory = path in self.nodes and self.nodes[path].kind is NodeKind.DIRECTORY
            if not (is_directory and stat.S_ISDIR(now[path][1])):
                self.root.remove(path)
        for path in touched:
            if os.path.lexists(f"{self.folder}{path}"):
                self.root.chown(path, self.nodes[path].uid, self.nodes[path].gid)
                self.root.chmod(path, self.nodes[path].mode)
            else:
                put(self.root, self.folder, path, self.nodes[path])
        for path in {
            *touched,
            *(posixpath.dirname(path) for path in (*touched, *changed)),
        } & self.before.keys():
            self.before[path] = self.stamp(Path(f"{self.folder}{path}").lstat())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("root")
    bench = Bench(folder, GOLDEN.BASE)
    yield bench
    bench.root.close()


def carried_out(data: bytes, root: Root, options: Options) -> str:
    return asyncio.run(GOLDEN.carry_out(data, root, options))


@pytest.mark.parametrize("name", GOLDEN.CASES)
def test_outcome_and_changes_on_disk_are_the_reference_s(name: str, bench: Bench):
    case = GOLDEN.CASES[name]
    data = case["ign"].encode("utf-8", "surrogateescape")
    try:
        result = carried_out(data, bench.root, Options(keys_fragment=True))
        found = GOLDEN.changes(bench.after())
    finally:
        bench.restore()
    if name in GOLDEN.REFUSED:
        assert (result, found) == ("fail:fetch-offline", [])
    else:
        assert result == case["outcome"]
        assert GOLDEN.comparable(found) == GOLDEN.comparable(GOLDEN.as_flatcar(case))


# ---- any tree, any config

ACCOUNTS = {
    "passwd": "root:x:0:0::/root:/bin/sh\nop:x:1500:1500::/home/op:/bin/sh\nodd:x:7:7::/a/b:/bin/sh\n",
    "group": "root:x:0:\nop:x:1500:\nwheel:x:10:op\nodd:x:7:\n",
    "shadow": "root:*:1::::::\nop:*:1::::::\nodd:*:1::::::\n",
    "gshadow": "wheel:!::op\n",
}
CANARY = "@"  # stands for the directory beside the root

part = st.sampled_from(["a", "b", "c", "etc", "home", "op", "systemd"])
path = st.lists(part, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
text = st.sampled_from(["", "x", "one\n", "Z" * 5000])
mode = st.sampled_from([0o755, 0o644, 0o600, 0o700, 0o2755, 0o4755, 0o6777, 0o1777])
number = st.sampled_from([0, 7, 10, 1500, 4321])
target = st.one_of(
    path,
    st.lists(st.sampled_from(["a", "b", "..", ".", "etc"]), min_size=1, max_size=4).map("/".join),
    st.sampled_from([CANARY, f"{CANARY}/file", "../outside", "../../outside/file", "/../outside", "a", "/"]),
)
node = st.one_of(
    st.builds(Node, st.just(NodeKind.DIRECTORY), mode, number, number),
    st.builds(Node, st.just(NodeKind.FILE), mode, number, number, text.map(str.encode)),
    st.builds(Node, st.just(NodeKind.LINK), st.just(0o777), number, number, st.just(b""), target),
    st.builds(Node, st.just(NodeKind.FIFO), mode, number, number),
)
owner = st.builds(Owner, id=st.none() | number, name=st.none()) | st.builds(
    Owner, id=st.none(), name=st.sampled_from(["op", "new", "wheel"])
)
maybe = st.none() | st.booleans()
resource = st.sampled_from(
    [
        Resource(),
        Resource(source="data:,"),
        Resource(source="data:,text%0A"),
        Resource(source="http://a.example/"),
    ]
)
common = {"path": path, "overwrite": maybe, "user": owner, "group": owner}
files = st.builds(
    File, append=st.lists(resource, max_size=2).map(tuple), contents=resource, mode=st.none() | mode, **common
)
directories = st.builds(Directory, mode=st.none() | mode, **common)
links = st.builds(Link, hard=maybe, target=target.filter(lambda t: CANARY not in t), **common)
users = st.builds(
    User,
    name=st.sampled_from(["op", "new", "odd", "root"]),
    uid=st.none() | number,
    groups=st.sampled_from([(), ("wheel",), ("nothing",)]),
    home_dir=st.none() | path,
    should_exist=maybe,
    no_create_home=maybe,
    ssh_authorized_keys=st.sampled_from([(), ("ssh-ed25519 AAAA k",)]),
)
units = st.builds(
    Unit,
    contents=st.none() | text.filter(lambda t: len(t) < 9),
    dropins=st.sampled_from([(), (Dropin(contents="[Unit]\n", name="x.conf"),)]),
    enabled=maybe,
    mask=maybe,
    name=st.sampled_from(["a.service", "../b.service", "e@.service", "e@1.service"]),
)


def seldom(strategy: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly nothing: accounts come first, and often stop a config before its files."""
    return st.one_of(st.just(()), st.just(()), st.just(()), strategy)


def several(strategy: st.SearchStrategy, count: int = 2) -> st.SearchStrategy:
    return st.lists(strategy, max_size=count).map(tuple)


configs = st.builds(
    lambda *parts: Config(
        passwd=Passwd(groups=parts[0], users=parts[1]),
        storage=Storage(directories=parts[2], files=parts[3], links=parts[4]),
        systemd=Systemd(units=parts[5]),
    ),
    seldom(several(st.builds(Group, name=st.sampled_from(["new", "wheel"]), gid=st.none() | number), 1)),
    seldom(several(users)),
    several(directories, 3),
    several(files, 3),
    several(links, 3),
    several(units),
)


def grown(nodes: dict[str, Node]) -> Tree:
    """A tree of those nodes that have a directory to stand in."""
    tree = Tree({"/etc": Node(NodeKind.DIRECTORY, 0o755)})
    for name, content in ACCOUNTS.items():
        tree._put(f"/etc/{name}", Node(NodeKind.FILE, 0o644, content=content.encode()))
    for at in sorted(nodes):
        above = tree.lstat(posixpath.dirname(at))
        if tree.lstat(at) is None and above is not None and above.kind is NodeKind.DIRECTORY:
            tree._put(at, nodes[at])
    return tree


def everything(root: Root) -> dict[str, Node]:
    """What a root has, contents too; a hard-linked file has the number of its first name."""
    found: dict[str, Node] = {}
    numbers: dict[int, int] = {}
    pending = ["/"]
    while pending:
        at = pending.pop()
        node = root.lstat(at)
        assert node is not None
        inode = numbers.setdefault(node.inode, len(numbers) + 1) if node.inode else 0
        content = root.read(at) if node.kind is NodeKind.FILE else b""
        found[at] = Node(node.kind, node.mode, node.uid, node.gid, content, node.target, inode)
        if node.kind is NodeKind.DIRECTORY:
            pending += [posixpath.join(at, name) for name in reversed(root.listdir(at))]
    return found


def canary(folder: Path) -> list[tuple[object, ...]]:
    """Everything that anything but a look would change outside the root."""
    return [
        (
            str(path),
            there.st_mode,
            there.st_uid,
            there.st_size,
            there.st_mtime_ns,
            there.st_ctime_ns,
            there.st_nlink,
        )
        for path in (folder, folder / "outside", folder / "outside/file")
        for there in [path.lstat()]
    ]


def outcome(config: Config, root: Root) -> str:
    def no_network(resource: Resource) -> bytes:
        raise FetchError("resource not found")

    from flatyard.ignition.fetch import inline_bytes, is_inline

    try:
        apply(config, root, lambda r: inline_bytes(r) if is_inline(r) else no_network(r))
    except ApplyError as problem:
        return f"stopped at {problem.path}"
    return "done"


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(path, node, max_size=8), configs)
def test_disk_and_memory_agree_and_nothing_outside_changes(nodes: dict[str, Node], config: Config):
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "root").mkdir(mode=0o755)
        (folder / "outside").mkdir()
        (folder / "outside/file").write_text("untouched")
        beside = str(folder / "outside")
        tree = grown({at: placed(node, beside) for at, node in nodes.items()})
        root = stack.enter_context(DirectoryRoot(folder / "root"))
        for at, node in tree.walk():
            put(root, folder / "root", at, node)
        assert everything(root) == everything(tree)
        before = canary(folder)
        assert outcome(config, root) == outcome(config, tree)
        assert everything(root) == everything(tree)
        assert canary(folder) == before


def placed(node: Node, beside: str) -> Node:
    return Node(node.kind, node.mode, node.uid, node.gid, node.content, node.target.replace(CANARY, beside))


# ---- what these tests found


@pytest.fixture(params=["disk", "memory"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """A root with account files and a file, on disk and in memory."""
    tree = grown({"/a": Node(NodeKind.FILE, content=b"a\n"), "/var": Node(NodeKind.DIRECTORY, 0o755)})
    if request.param == "memory":
        yield tree
        return
    with DirectoryRoot(tmp_path) as root:
        for at, node in tree.walk():
            put(root, tmp_path, at, node)
        yield root


def refusal(root: Root, **parts: object) -> str:
    with pytest.raises(ApplyError) as refused:
        apply(Config(**parts), root)  # type: ignore[arg-type]
    return str(refused.value)


def test_a_unit_name_with_a_path_in_it_is_never_enabled(small):
    assert (
        outcome(Config(systemd=Systemd(units=(Unit(name="../b.service", enabled=False),))), small) == "done"
    )
    assert small.lstat("/etc/systemd") is None


def test_a_hard_link_s_target_counts_from_the_root_and_stays_in_it(small):
    links = tuple(
        Link(path=f"/l{n}", hard=True, target=t) for n, t in enumerate(("a", "./a", "../../a", "//a"))
    )
    assert outcome(Config(storage=Storage(links=links)), small) == "done"
    assert [small.read(f"/l{n}") for n in range(4)] == [b"a\n"] * 4


def test_a_hard_link_to_itself_is_there_already(small):
    link = Link(path="/a", hard=True, target="/a")
    assert outcome(Config(storage=Storage(links=(link,))), small) == "done"
    assert small.read("/a") == b"a\n"


@pytest.mark.parametrize("field", ["gecos", "home_dir", "shell", "password_hash"])
def test_no_field_of_a_user_ends_a_record_of_the_account_files(small, field):
    value = "/x\nroot2::0:0::/:/bin/sh"
    before = everything(small)
    refused = refusal(small, passwd=Passwd(users=(User(name="new", **{field: value}),)))
    assert "useradd: invalid" in refused and "(exit status 3)" in refused
    assert everything(small) == before


@pytest.mark.parametrize("number", [-1, 0xFFFFFFFF, 1 << 40])
def test_ids_that_no_kernel_has_are_refused(small, number):
    for user in (User(name="new", uid=number), User(name="op", uid=number)):
        assert "invalid user ID" in refusal(small, passwd=Passwd(users=(user,)))
    group = Group(name="fresh", gid=number)
    assert "groupadd: invalid group ID" in refusal(small, passwd=Passwd(groups=(group,)))


def test_account_files_keep_bytes_that_are_not_utf8(small):
    small.append("/etc/passwd", b"old:x:8:8:Andr\xe9:/:/bin/sh\n")
    assert outcome(Config(passwd=Passwd(users=(User(name="new"),))), small) == "done"
    assert b"old:x:8:8:Andr\xe9:/:/bin/sh\nnew:x:" in small.read("/etc/passwd")


def test_account_files_that_cannot_be_read_are_an_error_and_not_empty(small):
    small.remove("/etc/passwd")
    small.mkdir("/etc/passwd", 0o755)
    assert refusal(small, passwd=Passwd(users=(User(name="new"),))).startswith("new: ")


def test_a_directory_where_keys_belong_is_an_error(small):
    small.mkdir("/home", 0o755)
    for at in ("/home/op", "/home/op/.ssh", "/home/op/.ssh/authorized_keys.d"):
        small.mkdir(at, 0o755)
        small.chown(at, 1500, 1500)
    small.mkdir("/home/op/.ssh/authorized_keys.d/ignition", 0o755)
    user = User(name="op", ssh_authorized_keys=("ssh-ed25519 AAAA k",))
    assert "is a directory" in refusal(small, passwd=Passwd(users=(user,)))


def test_the_root_itself_is_not_replaced(small):
    entry = Directory(path="/", overwrite=True)
    assert "the root itself is not removed" in refusal(small, storage=Storage(directories=(entry,)))
    assert small.read("/a") == b"a\n"


def test_a_path_too_long_for_the_kernel_is_an_error_of_its_entry(tmp_path):
    path = "/" + "x" * 300 + "/y"
    with DirectoryRoot(tmp_path) as root:
        assert refusal(root, storage=Storage(files=(File(path=path),))).startswith(f"{path}: ")


def test_what_was_done_is_told_by_path(small):
    small.mkdir("/var/d", 0o755)
    small.write("/var/d/f", b"1", 0o644)
    noting = Noting(small)
    entries = Storage(
        directories=(Directory(path="/var/d", overwrite=True), Directory(path="/var", mode=0o700)),
        files=(File(path="/a", append=(Resource(source="data:,b"),)), File(path="/n/f")),
    )
    users = Passwd(users=(User(name="op", should_exist=True),))
    assert outcome(Config(passwd=users, storage=entries), noting) == "done"
    told = {change.path: change.action.value for change in noting.changes()}
    assert told == {
        "/var": "changed",
        "/a": "changed",
        "/n": "created",
        "/n/f": "created",
        "/var/d": "replaced",
        "/etc/.ignition-result.json": "created",
    }


def test_a_removal_that_fails_is_told_as_a_change(small, monkeypatch):
    small.mkdir("/var/d", 0o755)
    noting = Noting(small)

    def busy(path: str) -> None:
        raise RootError(f"remove {path}: a filesystem is mounted there")

    monkeypatch.setattr(type(small), "remove", lambda _, path: busy(path))
    refusal(noting, storage=Storage(directories=(Directory(path="/var/d", overwrite=True),)))
    assert [(change.path, change.action.value) for change in noting.changes()] == [("/var/d", "changed")]
