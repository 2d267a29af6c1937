"""Short constructors for the entries that flatyard itself renders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flatyard.ignition.dataurl import inline
from flatyard.ignition.types import (
    Config,
    Directory,
    Dropin,
    File,
    HttpHeader,
    Ignition,
    Link,
    Owner,
    Passwd,
    Resource,
    Storage,
    Systemd,
    Unit,
    User,
    Verification,
)

SPEC_VERSION = "3.4.0"
"""The newest spec that every supported Flatcar release reads (Flatcar 3602 and later)."""


def config(
    *,
    files: Iterable[File] = (),
    directories: Iterable[Directory] = (),
    links: Iterable[Link] = (),
    units: Iterable[Unit] = (),
    users: Iterable[User] = (),
    version: str = SPEC_VERSION,
) -> Config:
    """A config of the given entries, in the order given."""
    storage = Storage(directories=tuple(directories), files=tuple(files), links=tuple(links))
    return Config(
        ignition=Ignition(version=version),
        passwd=Passwd(users=tuple(users)),
        storage=storage,
        systemd=Systemd(units=tuple(units)),
    )


def file(
    path: str,
    content: str | bytes,
    *,
    mode: int = 0o644,
    user: int | str | None = None,
    group: int | str | None = None,
    overwrite: bool | None = None,
) -> File:
    """A file with its whole content inline. `overwrite=True` where the image may already have one."""
    contents = inline(content)
    return File(owner(group), overwrite, path, owner(user), (), contents, mode)


def remote_file(
    path: str,
    source: str,
    *,
    hash: str | None = None,
    mode: int = 0o644,
    compression: str | None = None,
    headers: Mapping[str, str] | None = None,
    overwrite: bool | None = None,
) -> File:
    """A file fetched at boot. `hash` is `sha512-HEX` or `sha256-HEX` of the decompressed bytes."""
    contents = resource(source, hash=hash, compression=compression, headers=headers)
    return File(path=path, mode=mode, contents=contents, overwrite=overwrite)


def resource(
    source: str,
    *,
    hash: str | None = None,
    compression: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Resource:
    """A reference to bytes elsewhere."""
    pairs = tuple(HttpHeader(name, value) for name, value in (headers or {}).items())
    return Resource(compression, pairs, source, Verification(hash))


def directory(
    path: str, *, mode: int = 0o755, user: int | str | None = None, group: int | str | None = None
) -> Directory:
    """A directory."""
    return Directory(path=path, mode=mode, user=owner(user), group=owner(group))


def link(path: str, target: str, *, hard: bool = False, overwrite: bool | None = None) -> Link:
    """A symbolic (or hard) link from `path` to `target`."""
    return Link(path=path, target=target, hard=hard, overwrite=overwrite)


def unit(
    name: str,
    contents: str | None = None,
    *,
    enabled: bool | None = None,
    mask: bool | None = None,
    dropins: Mapping[str, str] | None = None,
) -> Unit:
    """A systemd unit; `dropins` maps file names (`10-x.conf`) to texts."""
    fragments = tuple(Dropin(text, fragment) for fragment, text in (dropins or {}).items())
    return Unit(contents, fragments, enabled, mask, name)


def user(name: str, *, keys: Iterable[str] = (), groups: Iterable[str] = ()) -> User:
    """A user with SSH keys, such as the image's own `core`."""
    return User(name=name, ssh_authorized_keys=tuple(keys), groups=tuple(groups))


def owner(who: int | str | None) -> Owner:
    """A user or group by number, by name, or left to the default."""
    if isinstance(who, str):
        return Owner(name=who)
    return Owner(id=who)
