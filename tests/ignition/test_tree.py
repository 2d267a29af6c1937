"""The tree in memory: sharing, links, and what applying to it never does."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard import ignition
from flatyard.ignition.apply import MOST_ACCOUNTS, ApplyError, apply
from flatyard.ignition.fetch import FetchError, fetch_all, remote_resources
from flatyard.ignition.tree import Node, NodeKind, RootError, Tree
from flatyard.ignition.types import HttpHeader


def directory(mode: int = 0o755) -> Node:
    return Node(NodeKind.DIRECTORY, mode)


def link(target: str) -> Node:
    return Node(NodeKind.LINK, 0o777, target=target)


BASE = Tree(
    {
        "/etc": directory(),
        "/etc/motd": Node(NodeKind.FILE, content=b"hello\n"),
        "/usr": directory(),
        "/usr/bin": directory(),
        "/bin": link("usr/bin"),
        "/loop": link("loop"),
        "/abs": link("/etc"),
    }
)


def test_an_overlay_leaves_its_base_alone():
    tree = BASE.overlay()
    tree.write("/etc/motd", b"changed", 0o600)
    tree.remove("/usr")
    tree.mkdir("/new", 0o700)
    assert (tree.text("/etc/motd"), tree.get("/usr/bin"), tree.listdir("/")) == (
        "changed",
        None,
        ("abs", "bin", "etc", "loop", "new"),
    )
    assert BASE.text("/etc/motd") == "hello\n" and BASE.get("/bin") == directory()


def test_programs_on_the_machine_follow_links_inside_it():
    assert BASE.text("/abs/motd") == "hello\n"
    assert BASE.resolve("/bin/../bin/kubectl") == "/usr/bin/kubectl"
    assert BASE.get("/loop") is None


def test_names_of_one_file_change_together():
    tree = BASE.overlay()
    tree.link("/etc/issue", "/etc/motd")
    tree.append("/etc/issue", b"more\n")
    tree.chmod("/etc/motd", 0o600)
    assert tree.lstat("/etc/motd") == tree.lstat("/etc/issue")
    assert tree.text("/etc/motd") == "hello\nmore\n"


def test_a_file_in_the_way_of_a_directory_is_an_error():
    with pytest.raises(RootError, match="not a directory"):
        BASE.overlay().write("/etc/motd/below", b"", 0o644)


def test_a_link_that_leads_to_a_link_out_of_the_root_is_refused():
    tree = Tree({"/a": link("/b"), "/b": link("/srv")})
    config = ignition.config(files=[ignition.file("/a/f", "x")])
    with pytest.raises(ApplyError, match="out of the root"):
        apply(config, tree)


class Web:
    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        if url.endswith("/missing"):
            raise FetchError("resource not found")
        return b"kubernetes"


def fetched(*files: ignition.File) -> Tree:
    config = ignition.config(files=files)
    tree = BASE.overlay()
    apply(config, tree, asyncio.run(fetch_all(remote_resources(config), Web())))
    return tree


def test_a_fetched_file_is_checked_against_its_hash():
    good = "sha256-9dc8ca08e5b5a8b4b2b3ea4bbd0ba1e41f2d3f6f5b37b5c2a3c8c9e0bb7ddf5a"
    with pytest.raises(ApplyError, match="hash verification failed"):
        fetched(ignition.remote_file("/opt/k.raw", "https://example.net/k.raw", hash=good))
    assert fetched(ignition.remote_file("/opt/k.raw", "https://example.net/k.raw")).text("/opt/k.raw") == (
        "kubernetes"
    )


def test_what_comes_before_a_failed_fetch_stays():
    tree = BASE.overlay()
    config = ignition.config(
        files=[ignition.file("/first", "1"), ignition.remote_file("/etc/second", "https://e.net/missing")]
    )
    with pytest.raises(ApplyError, match="/etc/second: resource not found"):
        apply(config, tree, asyncio.run(fetch_all(remote_resources(config), Web())))
    assert tree.text("/first") == "1" and tree.get("/etc/second") is None


names = st.sampled_from(["a", "b", "c", "etc", "bin", "loop", "abs", ".."])
path = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.tuples(path, st.one_of(st.none(), path, st.just("..")))), path)
def test_applying_any_links_ends_and_leaves_the_shared_base_alone(
    entries: list[tuple[str, str | None]], last: str
):
    before = dict(BASE.walk())
    files = [ignition.file(p, "x") for p, target in entries if target is None and ".." not in p]
    links = [ignition.link(p, target) for p, target in entries if target is not None and ".." not in p]
    config = ignition.config(files=[*files, ignition.file(last.replace("..", "x"), "y")], links=links)
    with contextlib.suppress(ApplyError):
        apply(config, BASE.overlay())
    assert dict(BASE.walk()) == before


def test_account_files_that_a_config_spoils_do_not_stop_the_stage():
    config = ignition.config(users=[ignition.user("core", groups=("wheel",))])
    nodes = {"/etc": directory()}
    for name, text in {"passwd": "core\ncore:x:y:z\n:\n", "group": "wheel:x:10:\nbroken\n::\n"}.items():
        nodes[f"/etc/{name}"] = Node(NodeKind.FILE, content=text.encode())
    tree = Tree(nodes)
    apply(config, tree)
    assert tree.text("/etc/group") == "wheel:x:10:core\nbroken\n::\ncore:x:1000:\n"
    assert tree.text("/etc/passwd") == "core\ncore:x:y:z\n:\ncore:x:1000:1000::/home/core:/bin/sh\n"


def test_more_accounts_than_a_machine_has_are_refused():
    """Found by fuzzing: each account reads the account files as a whole, so very many took hours."""
    users = tuple(ignition.User(name=f"u{number}") for number in range(MOST_ACCOUNTS + 1))
    with pytest.raises(ApplyError, match="passwd: 2001 users and groups are more than 2000"):
        apply(ignition.config(users=users), Tree())
