"""Compiling one component: its modules fetched and checked, its programs built, in a work folder of its own.

Which component, whether it is needed, and where it is kept is `source`'s; how Go is called `toolchain`'s.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.sysext import gomodule, toolchain
from flatyard.sysext.recipes import Recipe, Way
from flatyard.sysext.toolchain import GoFailed, ModuleRefused, Toolchain

_LISTED = 8
"""Versions that are named where one is asked for that there is not."""


class Component:
    """Compiling one component in a work folder of its own."""

    def __init__(
        self, recipe: Recipe, arch: str, go: Toolchain, work: Path, tick: Callable[[], None]
    ) -> None:
        self._recipe = recipe
        self._arch = arch
        self._go_path = go
        self._work = work
        self._tick = tick

    async def programs(self) -> Path:
        """A folder with the programs, and nothing else in it. Raises GoFailed."""
        folder = self._work / "source"
        folder.mkdir(parents=True)
        await self._prepare(folder)
        out = self._work / "out"
        out.mkdir()
        await self._build(folder, out)
        return out

    async def _prepare(self, folder: Path) -> None:
        recipe = self._recipe
        if recipe.way is Way.OURS:
            _write_sources(recipe, folder, "")
            return
        about = await self._downloaded(folder, recipe.module)
        for module in recipe.beside:
            await self._downloaded(folder, module)
        if recipe.way is Way.IN_PLACE:
            _copy_module(Path(about["Dir"]), folder)
        else:
            _write_sources(recipe, folder, Path(about["GoMod"]).read_text())

    async def _downloaded(self, folder: Path, module: str) -> Mapping[str, str]:
        """One module by its exact version, checked against our pin and the checksum database. Raises GoFailed."""
        query = f"{module}@{self._recipe.version}"
        try:
            about = json.loads(await self._go(("mod", "download", "-json", query), folder))
        except GoFailed as failure:
            raise GoFailed(failure.code, _module_error(failure.out) or failure.said) from None
        pinned = pins().get(query)
        if pinned is not None and pinned != about["Sum"]:
            raise Failed(
                f"{query} is not what it was: {about['Sum']}, not {pinned}",
                why="flatyard knows this module's hash, and what came has another",
                next="do not use this module proxy before you know why",
            )
        return {name: str(value) for name, value in about.items()}

    async def _build(self, folder: Path, out: Path) -> None:
        """Programs of one folder's name after their package; so one by one where we name them otherwise."""
        common = ("build", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags(self._recipe))
        tags = ("-tags", ",".join(self._recipe.tags)) if self._recipe.tags else ()
        if all(package.rpartition("/")[2] == name for name, package in self._recipe.programs):
            packages = [package for _, package in self._recipe.programs]
            await self._go((*common, *tags, "-o", f"{out}/", *packages), folder)
            return
        for name, package in self._recipe.programs:
            await self._go((*common, *tags, "-o", str(out / name), package), folder)

    async def _go(self, arguments: Sequence[str], folder: Path) -> str:
        return await toolchain.run(
            self._go_path,
            arguments,
            folder,
            arch=self._arch,
            cgo=self._recipe.cgo,
            tick=lambda _: self._tick(),
        )

    async def explained(self, failure: GoFailed) -> Exception:
        """What went wrong, with the versions that the proxy has where it is a version that it has not."""
        error = toolchain.explained(failure, self._recipe)
        if not isinstance(error, ModuleRefused):
            return error
        module, _, wanted = error.module.rpartition("@")
        self._work.mkdir(exist_ok=True)
        try:
            said = await self._go(("list", "-m", "-versions", module), self._work)
        except GoFailed:
            return error
        return error.with_versions(_near(wanted, said.split()[1:]))


def _near(wanted: str, listed: Sequence[str]) -> tuple[str, ...]:
    """The newest of the same minor, or the newest of all."""
    minor = wanted.rpartition(".")[0] + "."
    same = [version for version in listed if version.startswith(minor) and "-" not in version]
    return tuple((same or [version for version in listed if "-" not in version])[-_LISTED:])


def _module_error(out: str) -> str:
    """What `go mod download -json` says in its own answer."""
    try:
        return str(json.loads(out).get("Error", ""))
    except ValueError:
        return ""


def linker_flags(recipe: Recipe) -> str:
    """Symbols left out, versions stamped, and linked statically where the recipe says so."""
    static = ["-extldflags=-static"] if recipe.static else []
    return " ".join(["-s", "-w", *(f"-X={name}={value}" for name, value in recipe.flags), *static])


def pins() -> Mapping[str, str]:
    """`module@version` to its hash, as go.sum has it, for the modules of all recipes in the table."""
    lines = source_text("go.sum").splitlines()
    return {f"{module}@{version}": sum for module, version, sum in (line.split() for line in lines if line)}


def source_text(name: str) -> str:
    """One of our own sources, or of the lists beside them."""
    return (resources.files("flatyard.sysext") / "go" / f"{name}.txt").read_text(encoding="utf-8")


def _write_sources(recipe: Recipe, folder: Path, upstream: str) -> None:
    (folder / "go.mod").write_text(gomodule.wrapper(recipe, upstream))
    for name in recipe.sources:
        (folder / name).write_text(source_text(name))


def _copy_module(module: Path, folder: Path) -> None:
    """The module cache is read-only, its copy is not; a vendor folder of a module has lists in it and no code."""
    shutil.copytree(
        module,
        folder,
        dirs_exist_ok=True,
        copy_function=shutil.copyfile,
        ignore=lambda at, names: ["vendor"] if Path(at) == module and "vendor" in names else [],
    )
    for at, _, _ in os.walk(folder):
        Path(at).chmod(0o755)
