"""Programs compiled from the Go module proxy, kept below the cache by everything that they depend on.

One component is one folder, `$FLATYARD_CACHE/sysext/programs/NAME-VERSION-ARCH-KEY`, put in its place whole: a run that
is interrupted leaves nothing that another one would take for a result. Who compiles a component holds its lock; others
wait and then find it done. Go's own caches stand beside, in `$FLATYARD_CACHE/go`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from flatyard.base.errors import Failed, Refused
from flatyard.sysext import recipes, toolchain
from flatyard.sysext.cache import cache_folder
from flatyard.sysext.component import Component, linker_flags, source_text
from flatyard.sysext.kubernetes_tree import CNI, COMMANDS, Binaries
from flatyard.sysext.recipes import Recipe
from flatyard.sysext.toolchain import GoFailed, Toolchain
from flatyard.sysext.versions import cni_version

RECORD = "build.json"
_FORMAT = 1
"""Counted up when the way of compiling changes in a way that recipes do not show."""
_HOSTS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_WAIT = 0.5

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: component `number` of `total`; seconds since its start; about how many it takes, all in all."""

    recipe: Recipe
    number: int
    total: int
    seconds: float
    estimate: float

    def __str__(self) -> str:
        about = f" of about {_minutes(self.estimate)}" if self.estimate else ""
        return (
            f"compiling {self.recipe.title} ({self.number} of {self.total}): {_minutes(self.seconds)}{about}"
        )


Watch = Callable[[Progress], None]


def _unwatched(progress: Progress) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A component: the folder that holds its programs, and how long it took (0: it was there)."""

    recipe: Recipe
    arch: str
    folder: Path
    programs: Mapping[str, Path] = field(default_factory=dict)
    seconds: float = 0.0


def host_arch() -> str:
    """This machine's architecture, as Go and Kubernetes name it. Raises Refused for one that nothing is built for."""
    machine = platform.machine().lower()
    if machine not in _HOSTS:
        raise Refused(
            f"nothing is compiled for {machine}", why="only for amd64 and arm64", next="name one of them"
        )
    return _HOSTS[machine]


def binaries(version: str, arch: str, *, say: Say = _silent, watch: Watch = _unwatched) -> Binaries:
    """The programs of a Kubernetes image, compiled where they are not yet; not to be called inside a loop.

    `version` is like `v1.34.3`, `arch` `amd64` or `arm64`. Raises Refused for what is not supported or not installed,
    Failed for what did not work, in both cases with what to do.
    """
    wanted = recipes.node_recipes(version)
    done = compile_all(wanted, arch, say=say, watch=watch)
    return _as_binaries(version, arch, done)


def _as_binaries(version: str, arch: str, done: Mapping[str, Compiled]) -> Binaries:
    program = done[recipes.KUBERNETES_PROGRAM].programs[recipes.KUBERNETES_PROGRAM]
    plugins = {f"{CNI}{name}": path for name, path in done["cni-plugins"].programs.items()}
    paths = dict.fromkeys(COMMANDS, program) | plugins
    return Binaries(version, cni_version(version), arch, paths, "compiled from source")


def compile_all(
    wanted: Iterable[Recipe], arch: str, *, say: Say = _silent, watch: Watch = _unwatched
) -> Mapping[str, Compiled]:
    """Components by name, in the order given; as `compile_each`, for callers without a loop."""
    return asyncio.run(_until_told(compile_each(tuple(wanted), arch, say=say, watch=watch)))


async def _until_told(work: Coroutine[object, object, Mapping[str, Compiled]]) -> Mapping[str, Compiled]:
    """SIGTERM ends the compilers with us, as Ctrl-C does: they run in a session of their own."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    told: list[int] = []

    def stop() -> None:
        told.append(signal.SIGTERM)
        task.cancel()

    with contextlib.suppress(ValueError, RuntimeError):  # outside the main thread nobody can listen
        loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise SystemExit(128 + signal.SIGTERM) from None
        task.cancel()
        await asyncio.wait([task])
        raise


async def compile_each(
    wanted: Sequence[Recipe], arch: str, *, say: Say = _silent, watch: Watch = _unwatched
) -> Mapping[str, Compiled]:
    """Components by name, each compiled unless the cache has it.

    Everything that can be known before the first compiler starts is checked before: Go and its version, C libraries,
    the architecture, free space.
    """
    builder = Builder(cache_folder(), arch, say=say, watch=watch)
    return await builder.build(wanted)


def is_kept(cache: Path, recipe: Recipe, arch: str) -> bool:
    """Whether a run left this version of a component; a preflight cannot ask Go whether it would be used again."""
    records = (cache / "sysext/programs").glob(f"{_called(recipe, arch)}-*/{RECORD}")
    return any(True for _ in records)


def _called(recipe: Recipe, arch: str) -> str:
    return f"{recipe.name}-v{recipe.version.lstrip('v')}-{arch}"


class Builder:
    """Compiles components into one cache, one after the other: Go itself uses every core."""

    def __init__(self, cache: Path, arch: str, *, say: Say = _silent, watch: Watch = _unwatched) -> None:
        self._cache = cache.absolute()
        self._arch = arch
        self._say = say
        self._watch = watch
        self._programs = self._cache / "sysext/programs"

    async def build(self, wanted: Sequence[Recipe]) -> Mapping[str, Compiled]:
        """As `compile_each`."""
        go = toolchain.find(self._cache)
        keys = {recipe.name: key(recipe, self._arch, go) for recipe in wanted}
        missing = [recipe for recipe in wanted if self._found(recipe, keys[recipe.name]) is None]
        self._check(missing, go)
        if missing and go.sums == "off":
            self._say("warning: GOSUMDB=off: only the modules that flatyard has hashes of are checked")
        done: dict[str, Compiled] = {}
        for recipe in wanted:
            number = missing.index(recipe) + 1 if recipe in missing else 0
            done[recipe.name] = await self._one(recipe, keys[recipe.name], go, number, len(missing))
        return done

    # ---- before anything is done

    def _check(self, missing: Sequence[Recipe], go: Toolchain) -> None:
        for recipe in missing:
            recipes.check_arch(recipe, self._arch, go.host)
            toolchain.check_version(go, recipe)
            _check_c(recipe)
        self._check_space(missing)

    def _check_space(self, missing: Sequence[Recipe]) -> None:
        """Where a version of the component was compiled before, most of what another one takes is there already."""
        need = sum(recipe.megabytes // (4 if self._former(recipe) else 1) for recipe in missing)
        self._programs.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._programs).free // 1_000_000
        if free < need:
            raise Failed(
                f"{self._cache} has too little space to compile {', '.join(r.title for r in missing)}",
                why=f"{free / 1000:.1f} GB are free, about {need / 1000:.1f} GB are needed",
                next="make room, or set FLATYARD_CACHE to a folder on another disk",
            )

    def _estimate(self, recipe: Recipe) -> float:
        former = self._former(recipe)
        return former or recipe.seconds * 2 / min(8, len(os.sched_getaffinity(0)))

    def _former(self, recipe: Recipe) -> float:
        """The longest that any version took here, 0 without one: shorter runs found much of it in Go's cache."""
        records = self._programs.glob(f"{recipe.name}-v[0-9]*-{self._arch}-*/{RECORD}")
        found = (_record(path).get("seconds") for path in records)
        return max((float(seconds) for seconds in found if isinstance(seconds, int | float)), default=0.0)

    # ---- one component

    def _folder(self, recipe: Recipe, digest: str) -> Path:
        return self._programs / f"{_called(recipe, self._arch)}-{digest[:16]}"

    def _found(self, recipe: Recipe, digest: str) -> Compiled | None:
        """What an earlier run left; None unless every program is there in its size."""
        folder = self._folder(recipe, digest)
        sizes = _record(folder / RECORD).get("sizes")
        if not isinstance(sizes, dict):
            return None
        paths = {name: folder / name for name, _ in recipe.programs}
        if any(not path.is_file() or path.stat().st_size != sizes.get(name) for name, path in paths.items()):
            return None
        return Compiled(recipe, self._arch, folder, paths)

    async def _one(self, recipe: Recipe, digest: str, go: Toolchain, number: int, total: int) -> Compiled:
        if (found := self._found(recipe, digest)) is not None:
            return found
        folder = self._folder(recipe, digest)
        async with self._locked(folder, recipe):
            if (found := self._found(recipe, digest)) is not None:
                return found
            return await self._compiled(
                recipe, folder, go, Progress(recipe, number, total, 0, self._estimate(recipe))
            )

    @contextlib.asynccontextmanager
    async def _locked(self, folder: Path, recipe: Recipe) -> AsyncIterator[None]:
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            if not _try_lock(lock):
                self._say(f"waiting: another run compiles {recipe.title}")
                while not _try_lock(lock):
                    await asyncio.sleep(_WAIT)
            yield

    async def _compiled(self, recipe: Recipe, folder: Path, go: Toolchain, start: Progress) -> Compiled:
        about = f", about {_minutes(start.estimate)}" if start.estimate else ""
        self._say(f"compiling {recipe.title} for {self._arch} ({start.number} of {start.total}){about}")
        work = folder.with_name(f".{folder.name}.work")
        _remove(work)
        clock = asyncio.get_running_loop()
        began = clock.time()
        run = Component(recipe, self._arch, go, work, lambda: self._watch(_at(start, clock.time() - began)))
        try:
            made = await run.programs()
            seconds = clock.time() - began
            _keep(made, recipe, folder, seconds)
        except GoFailed as failure:
            raise await run.explained(failure) from None
        finally:
            _remove(work)
        size = sum(path.stat().st_size for path in (folder / name for name, _ in recipe.programs))
        self._say(f"{recipe.title}: {_minutes(seconds)}, {size / 1e6:.0f} MB")
        return Compiled(recipe, self._arch, folder, {n: folder / n for n, _ in recipe.programs}, seconds)


def _at(start: Progress, seconds: float) -> Progress:
    return Progress(start.recipe, start.number, start.total, seconds, start.estimate)


# ---- the cache


def key(recipe: Recipe, arch: str, go: Toolchain) -> str:
    """What a component's programs depend on, as a hash: recipe, sources, Go, and the C compiler where there is C."""
    inputs = {
        "format": _FORMAT,
        "module": f"{recipe.module}@{recipe.version}",
        "programs": recipe.programs,
        "way": recipe.way.value,
        "beside": recipe.beside,
        "flags": linker_flags(recipe),
        "tags": recipe.tags,
        "godebug": recipe.godebug,
        "sources": {name: source_text(name) for name in recipe.sources},
        "arch": arch,
        "go": go.version,
        "c": _c_compiler() if recipe.cgo else "",
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _c_compiler() -> str:
    gcc = shutil.which("gcc")
    if gcc is None:
        return ""
    done = subprocess.run(
        [gcc, "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


_HEADERS = {"libseccomp-dev": "seccomp.h", "libblkid-dev": "blkid/blkid.h", "libc6-dev": "stdlib.h"}


def _check_c(recipe: Recipe) -> None:
    """Raises Refused, before minutes go by, where a C compiler or a header is missing."""
    if not recipe.cgo:
        return
    gcc = shutil.which("gcc")
    headers = [header for package, header in _HEADERS.items() if package in recipe.needs]
    missing = [header for header in headers if gcc is None or not _has_header(gcc, header)]
    if gcc is None or missing:
        raise Refused(
            f"{recipe.title} needs a C compiler and libraries",
            why="there is no gcc" if gcc is None else f"gcc does not find {', '.join(missing)}",
            next=f"apt-get install {' '.join(recipe.needs)}",
        )


def _has_header(gcc: str, header: str) -> bool:
    text = f"#include <{header}>\n"
    done = subprocess.run([gcc, "-E", "-xc", "-"], input=text, text=True, capture_output=True, check=False)
    return done.returncode == 0


def _keep(made: Path, recipe: Recipe, folder: Path, seconds: float) -> None:
    """Put a component in its place, whole: the record is written first, and the folder moved last."""
    sizes = {name: (made / name).stat().st_size for name, _ in recipe.programs}
    for name in sizes:
        (made / name).chmod(0o755)
    record = {"recipe": recipe.title, "seconds": round(seconds, 1), "sizes": sizes}
    (made / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    _remove(folder)
    made.replace(folder)


def _record(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _minutes(seconds: float) -> str:
    """`4:05 min`, or `12 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60}:{whole % 60:02} min"
