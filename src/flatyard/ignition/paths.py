"""How Ignition finds its way below a root: one level of every link, then whatever the kernel does.

Each component but the last is looked up inside the root; an absolute target counts from the root and `..`
cannot climb out. A link that leads to another absolute link is left to the kernel, which would read that one
against the running system: such a path leaves the root, and flatyard refuses it.
"""

from __future__ import annotations

import posixpath

from flatyard.ignition.tree import SYMLINK_LIMIT, NodeKind, Root, RootError, check_path


def join(root: Root, path: str) -> str:
    """The path after Ignition's own look at its links: what entries are sorted and compared by.

    Raises RootError for a path that no system call takes.
    """
    check_path(path)
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "/"
    *parents, last = parts
    real = "/"
    for part in parents:
        here = posixpath.join(real, part)
        node = root.lstat(here)
        is_link = node is not None and node.kind is NodeKind.LINK
        real = _clean(posixpath.join(real, node.target)) if is_link and node else here
        if is_link:
            check_path(real)
    return posixpath.join(real, last)


def canonical(root: Root, joined: str) -> str:
    """The canonical path for a joined one: relative links on the way followed as the kernel does.

    Raises RootError for loops, files on the way, and for links out of the root.
    """
    pending = [part for part in joined.split("/") if part][::-1]
    done: list[str] = []
    hops = 0
    while pending:
        part = pending.pop()
        if part == "..":
            if not done:
                raise RootError(f"lstat {joined}: leads out of the root")
            done.pop()
            continue
        here = "/" + "/".join((*done, part))
        node = root.lstat(here)
        if node is None or not pending or node.kind is NodeKind.DIRECTORY:
            done.append(part)
            continue
        if node.kind is not NodeKind.LINK:
            raise RootError(f"lstat {joined}: not a directory")
        if node.target.startswith("/"):
            raise RootError(f"lstat {joined}: {here} is a link to a link out of the root ({node.target})")
        hops += 1
        if hops > SYMLINK_LIMIT:
            raise RootError(f"lstat {joined}: too many levels of symbolic links")
        pending += [p for p in node.target.split("/") if p and p != "."][::-1]
    return "/" + "/".join(done)


def resolve(root: Root, path: str) -> str:
    """`join` and `canonical` in one."""
    return canonical(root, join(root, path))


def depth(path: str) -> int:
    """Components of a clean path."""
    return 0 if path == "/" else path.count("/")


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
