"""The real Ignition, of the version that Flatcar stable ships, compiled once by the bakery's recipe.

Flatcar's own binary lies in its initrd and cannot be had apart from an image. This one differs in what makes no sense
in a container: no SELinux relabelling, keys in `authorized_keys` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flatyard.sysext import recipes
from flatyard.sysext.source import Builder, host_arch, is_kept

VERSION = recipes.IGNITION


def is_there(cache: Path) -> bool:
    """Whether it was compiled before; Go is not asked."""
    return is_kept(cache, recipes.ignition(), host_arch())


async def ensure(cache: Path, tell: Callable[[str], None]) -> Path:
    """The binary, compiled if it is not there yet: a minute on two cores with an empty cache.

    Raises Refused and Failed as `sysext.source.compile_each` does.
    """
    recipe = recipes.ignition()
    done = await Builder(cache, host_arch(), say=tell).build((recipe,))
    return done[recipe.name].programs["ignition"]
