"""Ignition in a simulated machine's initrd: user data in, root filesystem out, or the emergency shell.

Console lines have Ignition's form (`ignition[PID]: …`), because what failed is read off them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flatyard.flatcar import releases
from flatyard.ignition import spec
from flatyard.ignition.apply import ApplyError, apply
from flatyard.ignition.disks import prepare_disks
from flatyard.ignition.fetch import Fetcher, FetchError, fetch_all, remote_resources
from flatyard.ignition.resolve import InvalidConfig, resolve
from flatyard.ignition.tree import Tree
from flatyard.ignition.types import Config, HttpHeader
from flatyard.sim.base_tree import flatcar_root
from flatyard.sim.hardware import Hardware
from flatyard.sim.timings import Timings

_LABELS = ("EFI-SYSTEM", "OEM", "ROOT", "USR-A", "USR-B")
_BACKOFF = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
Say = Callable[[str], None]


class Emergency(Exception):
    """Ignition failed: the machine sits in its emergency shell and never joins. `lines` are the console's."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Installed:
    """What Ignition has made: the root, and the block devices that exist now."""

    tree: Tree
    devices: frozenset[str]
    config: Config


class FirstBoot:
    """One run of Ignition."""

    def __init__(
        self, hardware: Hardware, fetcher: Fetcher, timings: Timings, wait: Callable[[str], float], say: Say
    ) -> None:
        self._hardware = hardware
        self._fetcher = _Patient(fetcher, timings, wait, say)
        self._timings = timings
        self._wait = wait
        self._say = say

    async def run(self) -> Installed:
        """All stages in order; raises Emergency."""
        hardware = self._hardware
        if hardware.user_data_limit and len(hardware.user_data) > hardware.user_data_limit:
            raise self._failed(
                "fetch",
                f"user data has {len(hardware.user_data)} bytes, the limit is {hardware.user_data_limit}",
            )
        config = await self._fetch()
        await asyncio.sleep(self._wait("ignition"))
        devices = await self._disks(config)
        return Installed(await self._files(config), devices, config)

    async def _fetch(self) -> Config:
        self._say(f"ignition[612]: INFO     : Ignition {self._release().name}")
        try:
            resolved = await resolve(self._hardware.user_data, self._fetcher, release=self._release())
        except InvalidConfig as problem:
            for entry in problem.report[:5]:
                self._say(f"ignition[612]: {entry}")
            raise self._failed("fetch", f"failed to fetch config: {problem}") from None
        except FetchError as problem:
            raise self._failed("fetch", f"failed to fetch config: {problem}") from None
        self._say("ignition[612]: INFO     : fetch: fetch complete")
        return resolved.config

    def _release(self) -> spec.Release:
        contents = releases.contents(self._hardware.image_version)
        newest = spec.minor(contents.spec)
        return spec.Release(
            contents.ignition, frozenset(v for v in spec.FLATCAR.versions if spec.minor(v) <= newest)
        )

    async def _disks(self, config: Config) -> frozenset[str]:
        present = (*self._hardware.devices, *(f"/dev/disk/by-label/{name}" for name in _LABELS))
        try:
            disks = prepare_disks(config, present)
        except ApplyError as problem:
            await asyncio.sleep(self._timings.device_timeout)
            raise self._failed("disks", f"create partitions or filesystems failed: {problem}") from None
        labels = {f"/dev/disk/by-label/{made.label}" for made in disks.filesystems if made.label}
        uuids = {f"/dev/disk/by-uuid/{made.uuid}" for made in disks.filesystems if made.uuid}
        return disks.devices | labels | uuids

    async def _files(self, config: Config) -> Tree:
        blobs = await fetch_all(remote_resources(config), self._fetcher)
        hardware = self._hardware
        tree = flatcar_root(hardware.image_version, hardware.arch, hardware.kubernetes).overlay()
        try:
            apply(config, tree, blobs)
        except ApplyError as problem:
            self._say(
                f"ignition[688]: CRITICAL : files: createFiles: op(4): [failed]   writing file {problem}"
            )
            raise self._failed("files", f"failed to create files: {problem}") from None
        self._say("ignition[688]: INFO     : files: files passed")
        return tree

    def _failed(self, stage: str, why: str) -> Emergency:
        lines = (
            f"ignition[688]: CRITICAL : Ignition failed: {stage}: {why}",
            f"systemd[1]: ignition-{stage}.service: Main process exited, code=exited, status=1/FAILURE",
            f"systemd[1]: Failed to start ignition-{stage}.service - Ignition ({stage}).",
            "systemd[1]: Reached target emergency.target - Emergency Mode.",
        )
        for line in lines:
            self._say(line)
        return Emergency(lines)


class _Patient:
    """Ignition's own way to fetch: what may come right is tried for ever, the rest fails at once."""

    def __init__(self, fetcher: Fetcher, timings: Timings, wait: Callable[[str], float], say: Say) -> None:
        self._fetcher = fetcher
        self._timings = timings
        self._wait = wait
        self._say = say

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        attempt = 0
        shown = url.partition("?")[0]
        while True:
            attempt += 1
            if (
                attempt & (attempt - 1) == 0
            ):  # each power of two, so that hours of trying do not fill the console
                self._say(f"ignition[612]: INFO     : GET {shown}: attempt #{attempt}")
            try:
                body = await self._fetcher.fetch(url, headers)
            except FetchError as problem:
                if problem.is_final:
                    raise
                await asyncio.sleep(_BACKOFF[min(attempt, len(_BACKOFF)) - 1])
                continue
            await asyncio.sleep(self._wait("fetch"))
            self._say(f"ignition[612]: INFO     : GET result: OK ({shown})")
            return body
