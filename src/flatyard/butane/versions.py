"""The versions of variant `flatcar`: which Ignition spec each emits, and which keys each knows."""

from __future__ import annotations

from functools import cache

from flatyard.base.values import dataclass
from flatyard.butane import source
from flatyard.ignition import schema, types
from flatyard.ignition.schema import Field


@dataclass(frozen=True, slots=True)
class Version:
    """One version. `level` orders them; `package` is what the reference calls its types in messages.

    `has_clevis`, `refuses_cex`: which ways to unlock a volume it passes on.
    """

    name: str
    emits: str
    level: int
    package: str
    has_clevis: bool = False
    refuses_cex: bool = False


VERSIONS = {
    version.name: version
    for version in (
        Version("1.0.0", "3.3.0", 0, "v0_4"),
        Version("1.1.0", "3.4.0", 1, "v0_5"),
        Version("1.2.0-experimental", "3.7.0-experimental", 2, "v0_8_exp", has_clevis=True, refuses_cex=True),
    )
}

_SINCE: dict[tuple[type, str], int] = {
    (source.User, "ssh_authorized_keys_local"): 1,
    (source.Unit, "contents_local"): 1,
    (source.Dropin, "contents_local"): 1,
    (source.Luks, "discard"): 1,
    (source.Luks, "open_options"): 1,
    (types.Tang, "advertisement"): 1,
    (source.Luks, "cex"): 2,
    (source.Tree, "user"): 2,
    (source.Tree, "group"): 2,
    (source.Tree, "file_mode"): 2,
    (source.Tree, "dir_mode"): 2,
    (source.Systemd, "quadlets"): 2,
}


@cache
def keys(cls: type, level: int) -> dict[str, Field]:
    """The fields of a class that a version knows, by YAML key."""
    return {f.attr: f for f in schema.fields(cls) if _SINCE.get((cls, f.attr), 0) <= level}
