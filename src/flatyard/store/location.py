"""Where state lies, and opening it.

`FLATYARD_STATE`, else `$XDG_STATE_HOME/flatyard`, else `~/.local/state/flatyard` (XDG Base Directory
Specification); under sudo the invoking user's, with files that stay theirs.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flatyard.base.errors import Refused
from flatyard.base.world import World
from flatyard.store.bucket import Bucket, MemoryBucket
from flatyard.store.directory import DirectoryBucket, Owner
from flatyard.store.remote import SCHEMES, open_remote
from flatyard.store.seal import KeyFile, KeySource, MemoryKey, Passphrase
from flatyard.store.versioned import VersionedStore


@dataclass(frozen=True, slots=True)
class Invoker:
    """Who ran the command: home directory, and the owner to give files to (under sudo only)."""

    home: Path
    owner: Owner | None = None


def invoker(environ: Mapping[str, str] = os.environ) -> Invoker:
    """The person behind the process: with sudo the invoking user, else the process's own home."""
    uid = environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and uid.isdigit() and uid != "0":
        try:
            entry = pwd.getpwuid(int(uid))
        except KeyError:
            return Invoker(Path(environ.get("HOME", "/root")))
        return Invoker(Path(entry.pw_dir), Owner(entry.pw_uid, entry.pw_gid))
    return Invoker(Path(environ["HOME"]) if environ.get("HOME") else Path.home())


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The local folder for state: records by default, and what only this machine needs (keys, sockets)."""
    chosen = environ.get("FLATYARD_STATE", "")
    if chosen and not _is_url(chosen):
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_STATE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "flatyard"
    return invoker(environ).home / ".local" / "state" / "flatyard"


def open_store(url: str | None, world: World, environ: Mapping[str, str] = os.environ) -> VersionedStore:
    """Open the store at a directory, a `file:`, `s3:`, `az:` or `gs:` URL, or `memory:`; default: local.

    Nothing is written before the first record. `FLATYARD_PASSPHRASE` seals with a passphrase instead of the
    key file, which lies beside the local state in any case. Raises Refused for a URL of another kind.
    """
    if url is None and _is_url(environ.get("FLATYARD_STATE", "")):
        url = environ["FLATYARD_STATE"]
    if url == "memory:":
        return open_memory(world)
    local = DirectoryBucket(state_directory(environ), world, invoker(environ).owner)
    bucket = _bucket(url, local, world, environ)
    beside = bucket if isinstance(bucket, DirectoryBucket) else local
    return VersionedStore(bucket, _keys(beside, world, environ), world)


def open_memory(world: World, bucket: MemoryBucket | None = None) -> VersionedStore:
    """A store in memory, for rehearsals; give the bucket to open it again after a simulated crash."""
    return VersionedStore(bucket or MemoryBucket(), MemoryKey(), world)


def _bucket(url: str | None, local: DirectoryBucket, world: World, environ: Mapping[str, str]) -> Bucket:
    if url is None:
        return local
    scheme = urlsplit(url).scheme
    if scheme in SCHEMES:
        return open_remote(url)
    if scheme not in ("", "file"):
        raise Refused(
            f"{url!r} is not a place for state",
            why=f"{scheme}:// is not known",
            next="give a directory, or a URL that starts with s3://, az:// or gs://",
        )
    path = unquote(urlsplit(url).path) if scheme else url
    return DirectoryBucket(Path(path).expanduser().absolute(), world, invoker(environ).owner)


def _keys(beside: DirectoryBucket, world: World, environ: Mapping[str, str]) -> KeySource:
    if "FLATYARD_PASSPHRASE" in environ:
        return Passphrase(environ["FLATYARD_PASSPHRASE"], world)
    return KeyFile(beside, world)


def _is_url(text: str) -> bool:
    return "://" in text or text == "memory:"
