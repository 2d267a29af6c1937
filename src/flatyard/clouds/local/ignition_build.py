"""The real Ignition, of the version that Flatcar stable ships, built from the Go module proxy into the cache.

Flatcar's own binary lies in its initrd and cannot be had apart from an image. This one differs in what makes no sense
in a container: no SELinux relabelling, keys in `authorized_keys` itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.clouds.local.commands import CommandFailed, run
from flatyard.clouds.local.folders import held

VERSION = "v2.24.0"
_MODULE = "github.com/coreos/ignition/v2"
_SETTINGS = {
    "version.Raw": VERSION,
    "distro.selinuxRelabel": "false",
    "distro.writeAuthorizedKeysFragment": "false",
}
_FLAGS = " ".join(["-s -w", *(f"-X {_MODULE}/internal/{key}={value}" for key, value in _SETTINGS.items())])


def place(cache: Path) -> Path:
    """Where the binary is, or will be."""
    key = hashlib.sha256(f"{VERSION} {_FLAGS} {os.uname().machine}".encode()).hexdigest()[:16]
    return cache / "local" / f"ignition-{VERSION}-{key}" / "ignition"


async def ensure(cache: Path, tell: Callable[[str], None]) -> Path:
    """The binary, built if it is not there yet: two minutes on two cores with an empty cache.

    Raises Failed with what Go said.
    """
    binary = place(cache)
    if binary.exists():
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    async with held(binary.parent / "lock"):
        if not binary.exists():
            tell(
                f"building Ignition {VERSION} from its source; this happens once and takes about two minutes"
            )
            await _build(cache, binary)
            tell(f"built Ignition {VERSION}: {binary}")
    return binary


async def _build(cache: Path, binary: Path) -> None:
    work = binary.with_name("source")
    shutil.rmtree(work, ignore_errors=True)
    try:
        env = await environment(cache)
        said = await run("go", "mod", "download", "-json", f"{_MODULE}@{VERSION}", env=env, cwd=binary.parent)
        await run("cp", "-r", "--no-preserve=mode", json.loads(said)["Dir"], str(work))
        shutil.rmtree(work / "vendor", ignore_errors=True)
        made = f"{binary}.new"
        await run("go", "build", "-trimpath", "-ldflags", _FLAGS, "-o", made, "./internal", env=env, cwd=work)
    except (CommandFailed, FileNotFoundError) as error:
        raise Failed(
            f"Ignition {VERSION} could not be built",
            why=str(error)[-1500:],
            next="install Go 1.24 or newer, gcc and libblkid-dev, then run the same command again",
        ) from None
    Path(made).rename(binary)
    shutil.rmtree(work)


async def environment(cache: Path) -> dict[str, str]:
    """Go's surroundings: the user's own module proxy, never the repositories behind it, and caches below ours."""
    proxy = (await run("go", "env", "GOPROXY", env=os.environ)).strip()
    return {
        **os.environ,
        "GOPROXY": ",".join(part for part in proxy.split(",") if part != "direct") or "off",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "1",
        "GOMODCACHE": str(cache / "go/mod"),
        "GOCACHE": str(cache / "go/build"),
    }
