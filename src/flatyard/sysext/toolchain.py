"""The go command: found, asked for its settings, run in an environment of our own, and its failures understood.

Settings are the user's where they say *whom to trust and ask* (GOPROXY without `direct`, GOSUMDB, proxies of the
environment); everything that could change the bytes of a program is ours. `direct` is left out because it would run
git against arbitrary hosts. Source: `go help environment`, Go Modules Reference "Environment variables".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Failed, FlatyardError, Refused
from flatyard.sysext.recipes import Recipe

INSTALL = "install Go from go.dev/dl or your distribution, and put `go` on PATH"
_KEPT = (
    *("PATH", "HOME", "TMPDIR", "GOMAXPROCS", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a go process gets of our environment: where things are, how to reach the network, how many cores to take."""
_TAIL = 15


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A usable go command. `version` is like `go1.26.8`; `proxy` has no `direct` in it; `host` its own architecture."""

    path: str
    version: str
    host: str
    proxy: str
    sums: str
    cache: Path

    def environment(self, *, arch: str, cgo: bool) -> Mapping[str, str]:
        """What a go process sees, and nothing else."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return kept | {
            "LC_ALL": "C",
            "GOENV": "off",
            "GOFLAGS": "-mod=mod",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOPROXY": self.proxy,
            "GOSUMDB": self.sums,
            "GOPATH": str(self.cache / "go"),
            "GOMODCACHE": str(self.cache / "go/mod"),
            "GOCACHE": str(self.cache / "go/build"),
            "GOOS": "linux",
            "GOARCH": arch,
            "CGO_ENABLED": "1" if cgo else "0",
        }


def find(cache: Path) -> Toolchain:
    """The go on PATH. Raises Refused when there is none, or when it may ask no module proxy."""
    path = shutil.which("go")
    if path is None:
        raise Refused("there is no `go` on PATH", why="Kubernetes is compiled with it", next=INSTALL)
    names = ("GOVERSION", "GOHOSTARCH", "GOPROXY", "GOSUMDB")
    env = os.environ | {"GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [path, "env", "-json", *names], capture_output=True, text=True, env=env, check=False
    )
    try:
        said = json.loads(done.stdout)
        version, host, proxy, sums = (str(said[name]) for name in names)
    except (ValueError, KeyError, TypeError):
        why = done.stderr.strip() or f"`go env` ended with {done.returncode} and said nothing"
        raise Failed(f"{path} does not work", why=why, next=INSTALL) from None
    return Toolchain(path, version, host, proxies_only(proxy), sums, cache.absolute())


def proxies_only(proxy: str) -> str:
    """GOPROXY without `direct`; what remains keeps its separators. Raises Refused when nothing remains."""
    kept = "".join(
        separator + url
        for separator, url in re.findall(r"(^|[,|])([^,|]+)", proxy)
        if url.strip() not in ("direct", "")
    ).lstrip(",|")
    if not kept:
        raise Refused(
            f"Go may ask no module proxy: GOPROXY={proxy}",
            why="modules come from a proxy; version control of other hosts is never asked",
            next="go env -w GOPROXY=<your module proxy>",
        )
    return kept


def check_version(toolchain: Toolchain, recipe: Recipe) -> None:
    """Raises Refused when a recipe needs a newer Go. Unreleased ones (`devel …`) are taken as new enough."""
    found = re.match(r"go(\d+)\.(\d+)", toolchain.version)
    if found and (int(found[1]), int(found[2])) < numbers(recipe.go):
        raise Refused(
            f"{recipe.title} needs Go {recipe.go} or newer",
            why=f"{toolchain.path} is {toolchain.version}",
            next=INSTALL,
        )


def numbers(version: str) -> tuple[int, ...]:
    """`1.24` → (1, 24)."""
    return tuple(int(part) for part in version.split("."))


def without_credentials(text: str) -> str:
    """A text with user names and passwords taken out of its addresses: proxies may have them."""
    return re.sub(r"(://)[^/\s@]+@", r"\1", text)


# ---- running it

Tick = Callable[[float], None]
"""Called about once a second with the seconds since the start."""


def _nothing(seconds: float) -> None:
    """Nobody watches."""


async def run(
    toolchain: Toolchain,
    arguments: Sequence[str],
    folder: Path,
    *,
    arch: str,
    cgo: bool = False,
    tick: Tick = _nothing,
) -> str:
    """Run go in a folder; returns its stdout. Raises GoFailed with what it said; a cancelled run is killed whole."""
    process = await asyncio.create_subprocess_exec(
        toolchain.path,
        *arguments,
        cwd=folder,
        env=dict(toolchain.environment(arch=arch, cgo=cgo)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    ended = asyncio.ensure_future(process.communicate())
    try:
        await _watch(ended, tick)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            # its own session, so that compilers and linkers go with it
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait([ended])
        raise
    out, err = ended.result()
    if process.returncode:
        raise GoFailed(process.returncode, _text(err), _text(out))
    return _text(out)


async def _watch(ended: asyncio.Future[tuple[bytes, bytes]], tick: Tick) -> None:
    clock = asyncio.get_running_loop()
    start = clock.time()
    while not (await asyncio.wait([ended], timeout=1))[0]:
        tick(clock.time() - start)


def _text(output: bytes) -> str:
    return without_credentials(output.decode(errors="replace"))


class GoFailed(Exception):
    """go ended with a code; `said` is its stderr, `out` its stdout."""

    def __init__(self, code: int, said: str, out: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.said = said
        self.out = out


# ---- what its failures mean

_REFUSED = re.compile(r"(\S+@v[^\s:]+): [^\n]*?: ((?:4\d\d|5\d\d) [A-Z][a-zA-Z ]+)")
_UNKNOWN = re.compile(r"(\S+@v[^\s:]+): (?:invalid version: )?(unknown revision|not found)[^\n]*")
_NETWORK = re.compile(
    r"[^\n]*(?:dial tcp|no such host|connection refused|i/o timeout|TLS handshake|network is unreachable)[^\n]*"
)
_MISMATCH = re.compile(r"[^\n]*(?:checksum mismatch|SECURITY ERROR)[^\n]*")
_UNVERIFIED = re.compile(r"(\S+@v[^\s:]+): verifying (?:module|go\.mod): [^\n]*: (\d{3} [A-Z][a-zA-Z ]+)")
_NEWER_GO = re.compile(r"[^\n]*requires go >= (\S+)[^\n]*")
_HEADER = re.compile(r"(\S+\.h): No such file or directory|cannot find -l(\S+)")
_NO_COMPILER = re.compile(r'C compiler "(\w+)" not found')


def explained(failure: GoFailed, recipe: Recipe) -> FlatyardError:
    """go's last words as an error: which module, what is missing, what to do."""
    said = failure.said or failure.out
    for explain in (_of_space, _of_sums, _of_module, _of_network, _of_version, _of_c, _of_memory):
        if (error := explain(said, failure, recipe)) is not None:
            return error
    lines = [line for line in said.splitlines() if not line.startswith("go: downloading ")]
    return Failed(
        f"{recipe.title} does not compile: go ended with {failure.code}",
        why="its last words:\n" + "\n".join(f"    {line}" for line in lines[-_TAIL:]),
        next="another Go release, or another version of it",
    )


def _of_space(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    if "no space left on device" not in said:
        return None
    return Failed(
        f"{recipe.title}: the disk is full",
        why=f"its modules and what is compiled of them take about {recipe.megabytes / 1000:.1f} GB",
        next="make room, or set FLATYARD_CACHE to a folder on another disk; what is compiled already is kept",
    )


def _of_sums(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    mismatch = _MISMATCH.search(said)
    if mismatch:
        return Failed(
            f"{recipe.title}: a module is not what it was",
            why=" ".join(mismatch[0].split()),
            next="do not use this proxy before you know why; remove Go's module cache if only that is damaged",
        )
    unknown = _UNVERIFIED.search(said)
    if not unknown:
        return None
    return Failed(
        f"{recipe.title}: the checksum database does not vouch for {unknown[1]}",
        why=f"it answers {' '.join(unknown[2].split())}",
        next="choose a version that it knows; nothing is used unverified",
    )


def _of_module(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    found = _REFUSED.search(said) or _UNKNOWN.search(said)
    if not found:
        return None
    return ModuleRefused(found[1], " ".join(found[2].split()), recipe)


def _of_network(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    found = _NETWORK.search(said)
    if not found:
        return None
    return Failed(
        f"{recipe.title}: the module proxy does not answer",
        why=found[0].strip(),
        next="see `go env GOPROXY`, and the proxy settings of this shell",
    )


def _of_version(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    found = _NEWER_GO.search(said)
    if not found:
        return None
    return Refused(f"{recipe.title} needs Go {found[1]} or newer", why=found[0].strip(), next=INSTALL)


def _of_c(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    found = _HEADER.search(said) or _NO_COMPILER.search(said)
    if not found or not recipe.needs:
        return None
    return Refused(
        f"{recipe.title} needs a C compiler and libraries",
        why=found[0],
        next=f"apt-get install {' '.join(recipe.needs)}",
    )


def _of_memory(said: str, failure: GoFailed, recipe: Recipe) -> FlatyardError | None:
    if "signal: killed" not in said and failure.code != -signal.SIGKILL:
        return None
    return Failed(
        f"{recipe.title}: the compiler was killed",
        why="usually by the kernel, for want of memory: Kubernetes takes about 3 GB to link",
        next="free some memory, or set GOMAXPROCS=1 and run it again",
    )


class ModuleRefused(Failed):
    """A proxy does not hand out a module: `module` is `path@version`."""

    def __init__(self, module: str, why: str, recipe: Recipe, there_is: Sequence[str] = ()) -> None:
        self.module = module
        self.answer = why
        self.recipe = recipe
        listed = ", ".join(there_is)
        super().__init__(
            f"the module proxy does not hand out {module}, which {recipe.title} needs",
            why=f"it answers {why}" + (f"; it lists {listed}" if listed else ""),
            next="choose a version that it has, or ask those who run the proxy",
        )

    def with_versions(self, there_is: Sequence[str]) -> ModuleRefused:
        """The same error, with the versions that the proxy lists."""
        return ModuleRefused(self.module, self.answer, self.recipe, there_is)
