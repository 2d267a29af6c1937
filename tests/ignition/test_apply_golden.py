"""What Ignition 2.24 did to a root in its files stage, 517 configs; `golden/apply/NOTES.md` has the rules.

SSH keys are scored as Flatcar builds Ignition (a fragment below `authorized_keys.d`), and once more as the
plain build does. Where the reference fails, what it leaves behind is compared as well.
"""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pytest

from flatyard.ignition import dataurl
from flatyard.ignition.apply import ApplyError, Options, apply
from flatyard.ignition.fetch import FetchError, fetch_all, remote_resources
from flatyard.ignition.resolve import InvalidConfig, resolve
from flatyard.ignition.tree import Node, NodeKind, Tree
from flatyard.ignition.types import HttpHeader

GOLDEN = Path(__file__).parent / "golden" / "apply"
CASES = {c["name"]: c for c in map(json.loads, (GOLDEN / "cases.jsonl").read_text().splitlines())}
WITH_KEYS = [name for name, case in CASES.items() if "keys_fragment" in case]
REFUSED = {
    "m-merge-empty-source": "an empty child silently voids the whole config there",
    "m-replace-empty-source": "an empty replacement silently voids the whole config there",
}
ACCOUNT_FILES = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
RESULT = "/etc/.ignition-result.json"


def base_tree() -> Tree:
    nodes: dict[str, Node] = {}
    with tarfile.open(fileobj=io.BytesIO((GOLDEN / "base.tar.gz").read_bytes())) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            kind = NodeKind.FILE
            if member.isdir():
                kind = NodeKind.DIRECTORY
            elif member.issym():
                kind = NodeKind.LINK
            elif member.isfifo():
                kind = NodeKind.FIFO
            content = stream.read() if stream else b""
            path = member.name.removeprefix(".").rstrip("/") or "/"
            nodes[path] = Node(kind, member.mode, member.uid, member.gid, content, member.linkname)
    return Tree(nodes)


BASE = base_tree()
BEFORE = dict(BASE.walk())


class Server:
    """The pages of http.json, as the reference found them."""

    pages = json.loads((GOLDEN / "http.json").read_text())

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        path = url.partition(":18099")[2]
        path = {"/redirect": "/hello"}.get(path, path)
        if path == "/gz":
            return dataurl.compress(b"gzip over http\n")
        if path == "/needs-header" and HttpHeader("X-Flatyard", "yes") in headers:
            return b"header ok\n"
        if path not in self.pages:
            raise FetchError("resource not found")
        return self.pages[path].encode()


async def carry_out(data: bytes, tree: Tree, options: Options) -> str:
    try:
        config = (await resolve(data, Server())).config
    except (InvalidConfig, FetchError):
        return "fail:fetch-offline"
    blobs = await fetch_all(remote_resources(config), Server())
    try:
        apply(config, tree, blobs, options)
    except ApplyError:
        return "fail:files"
    return "ok"


def outcome(name: str, *, keys_fragment: bool) -> tuple[str, list[dict[str, object]]]:
    tree = BASE.overlay()
    data = CASES[name]["ign"].encode("utf-8", "surrogateescape")
    result = asyncio.run(carry_out(data, tree, Options(keys_fragment=keys_fragment)))
    return result, changes(tree)


def changes(tree: Tree) -> list[dict[str, object]]:
    """What became of the base, of which only those paths are looked at that were written to."""
    assert tree._base is BASE
    after = {path: node for path, node in (BEFORE | tree._nodes).items() if node}
    names = defaultdict(list)
    for path in tree._nodes:
        if path in after and after[path].inode:
            names[after[path].inode].append(path)
    found: list[dict[str, object]] = []
    for path in sorted(tree._nodes):
        old, new = BEFORE.get(path), after.get(path)
        if old == new or path == RESULT:
            continue
        if new is None:
            if not is_implied(path, after):
                found.append({"path": path, "type": "removed"})
            continue
        others = sorted(other for other in names.get(new.inode, []) if other != path)
        found.append(change(path, old, new, others))
    return found


def is_implied(path: str, after: dict[str, Node]) -> bool:
    """Whether what held a removed path is itself gone, or no directory any more."""
    parent = path.rpartition("/")[0] or "/"
    return parent not in after or after[parent].kind is not NodeKind.DIRECTORY


def change(path: str, old: Node | None, new: Node, others: list[str]) -> dict[str, object]:
    entry: dict[str, object] = {"path": path, "type": str(new.kind), "uid": new.uid, "gid": new.gid}
    if new.kind is NodeKind.LINK:
        return entry | {"target": new.target}
    entry["mode"] = f"{new.mode:04o}"
    if new.kind is NodeKind.DIRECTORY:
        return entry | ({"new": True} if old is None else {})
    if old is not None and path.removeprefix("/etc/") in ACCOUNT_FILES:
        lines = [account_lines(path, node) for node in (old, new)]
        added = sorted(line for line in lines[1] if line not in lines[0])
        removed = sorted(line for line in lines[0] if line not in lines[1])
        return entry | {"type": "accounts", "added": added, "removed": removed}
    entry |= {"size": len(new.content), "sha256": sha256(new.content).hexdigest()}
    return entry | ({"hardlinked_with": others} if others else {})


def account_lines(path: str, node: Node) -> list[str]:
    lines = node.content.decode().splitlines()
    if path == "/etc/shadow":
        rows = [line.split(":") for line in lines]
        return [":".join([*row[:2], "DATE" if row[2] else "", *row[3:]]) for row in rows]
    return lines


def comparable(entries: list[dict[str, object]]) -> list[str]:
    """As sorted lines; a former type is a reading aid."""
    lines = []
    for entry in entries:
        entry = {k: v for k, v in entry.items() if k != "was"}
        for key in ("added", "removed"):
            if isinstance(entry.get(key), list):
                entry[key] = sorted(entry[key])  # type: ignore[call-overload]
        lines.append(json.dumps(entry, sort_keys=True))
    return sorted(lines)


def as_flatcar(case: dict[str, object]) -> list[dict[str, object]]:
    fragment = case.get("keys_fragment", {})
    instead, has = fragment.get("instead_of", []), fragment.get("has", [])
    return [*(c for c in case["changes"] if c not in instead), *has]


def test_all_cases_are_here():
    assert (len(CASES), len(WITH_KEYS), len(REFUSED)) == (517, 27, 2)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_outcome_and_changes_are_the_reference_s_on_flatcar(name: str):
    case = CASES[name]
    result, found = outcome(name, keys_fragment=True)
    assert result == case["outcome"]
    assert comparable(found) == comparable(as_flatcar(case))


@pytest.mark.parametrize("name", WITH_KEYS)
def test_keys_in_one_file_as_the_plain_build_writes_them(name: str):
    result, found = outcome(name, keys_fragment=False)
    assert result == CASES[name]["outcome"]
    assert comparable(found) == comparable(CASES[name]["changes"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_reference_gets_wrong_is_refused(name: str):
    result, found = outcome(name, keys_fragment=True)
    assert (result, found) == ("fail:fetch-offline", [])
