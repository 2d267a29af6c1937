"""`ignition.config.replace` and `merge`: from what a machine is given to the config that it applies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flatyard.base.values import dataclass, replace
from flatyard.ignition import fetch, parse, spec
from flatyard.ignition.fetch import Fetcher, FetchError
from flatyard.ignition.merge import merge
from flatyard.ignition.report import Entry, is_fatal
from flatyard.ignition.types import Config, ConfigRefs, Ignition, Resource
from flatyard.ignition.validate import validate

_DEPTH_LIMIT = 16
_COUNT_LIMIT = 1000
"""Configs in all: inside `data:` URLs a few kilobytes may hold any number, each of them with more inside."""


class InvalidConfig(Exception):
    """A config that Ignition would refuse: `source` names which (empty for the machine's own)."""

    def __init__(self, message: str, report: tuple[Entry, ...] = (), source: str = "") -> None:
        super().__init__(message)
        self.report = report
        self.source = source


@dataclass(frozen=True, slots=True)
class Resolved:
    """The final config, with every warning on the way."""

    config: Config
    report: tuple[Entry, ...]


Settle = Callable[[Ignition], Awaitable[None]]
"""Told of the settings that the next fetches are made with: timeouts, proxies, authorities. Raises FetchError."""


async def _keep(_: Ignition) -> None:
    """For a fetcher that has no settings."""


async def resolve(
    data: bytes, fetcher: Fetcher, *, release: spec.Release = spec.FLATCAR, settle: Settle = _keep
) -> Resolved:
    """User data → the final config, fetching what it refers to, recursively.

    `settle` is called with the settings of each config, those that it is merged into included, before what it
    refers to is fetched; at last with those of the final config. Empty user data is an empty config, as on a real
    machine. A reference to something empty is refused: Ignition 2.24 would quietly apply nothing at all. Raises
    InvalidConfig, and FetchError for what cannot be fetched.
    """
    resolver = _Resolver(fetcher, release, settle)
    if not data:
        return Resolved(resolver.empty(), ())
    config = await resolver.render(data, "", 0)
    report = validate(config)
    if is_fatal(report):
        raise InvalidConfig("merging configs resulted in an invalid config", report)
    await settle(config.ignition)
    return Resolved(config, tuple(resolver.report))


class _Resolver:
    def __init__(self, fetcher: Fetcher, release: spec.Release, settle: Settle) -> None:
        self.fetcher = fetcher
        self.settle = settle
        self.release = release
        self.target = max(release.versions, key=spec.minor)
        self.report: list[Entry] = []
        self.count = 0

    def empty(self) -> Config:
        config = Config()
        return replace(config, ignition=replace(config.ignition, version=self.target))

    async def render(self, data: bytes, source: str, depth: int, above: Config | None = None) -> Config:
        """`above` is what was merged so far where this one is merged: its settings count too."""
        if depth > _DEPTH_LIMIT:
            raise InvalidConfig(f"configs refer to each other more than {_DEPTH_LIMIT} deep", source=source)
        self.count += 1
        if self.count > _COUNT_LIMIT:
            raise InvalidConfig(f"more than {_COUNT_LIMIT} configs refer to each other", source=source)
        document = parse.read(data, release=self.release)
        self.report += document.report
        if document.config is None or not document.is_valid:
            raise InvalidConfig(_summary(document), document.report, source)
        config = parse.up_translate(document.config, self.target)
        await self.settle((merge(above, config) if above else config).ignition)
        replacement = config.ignition.config.replace
        if replacement.source is not None:
            return await self.child(replacement, depth, None)
        merged = config
        for resource in config.ignition.config.merge:
            merged = merge(merged, _without_refs(await self.child(resource, depth, merged)))
        return merged

    async def child(self, resource: Resource, depth: int, above: Config | None) -> Config:
        source = resource.source or ""
        try:
            data = await fetch.fetch(resource, self.fetcher)
        except FetchError as problem:
            message = f"ignition.config.{'merge' if above else 'replace'}: {problem}"
            raise FetchError(message, is_final=problem.is_final) from None
        if not data:
            raise InvalidConfig("the config it refers to is empty", source=source)
        return await self.render(data, source, depth + 1, above)


def _summary(document: parse.Document) -> str:
    unplaced = document.config is None and document.report[0].line is None
    return document.report[0].message if unplaced else "config is not valid"


def _without_refs(config: Config) -> Config:
    return replace(config, ignition=replace(config.ignition, config=ConfigRefs()))


__all__ = ["FetchError", "InvalidConfig", "Resolved", "resolve"]
