"""What a parsed config must satisfy, in the reference's words and order (specs 3.0 to 3.6).

Each rule adds entries to a list; places in the text are worked out by `parse`. The config's own version
decides which rules apply. The reference asks a value before the values inside it, and these in the order of
the specification's fields.
"""

from __future__ import annotations

from flatyard.ignition import spec
from flatyard.ignition.duplicates import duplicates
from flatyard.ignition.report import Entry, error, warning
from flatyard.ignition.types import Config, Directory, File, Ignition, Link, Proxy, Resource
from flatyard.ignition.urls import UrlError, scheme
from flatyard.ignition.validate_resource import check_required_source, check_resource
from flatyard.ignition.validate_storage import check_storage
from flatyard.ignition.validate_units import UNIT_DIRECTORY, check_systemd


def validate(config: Config) -> tuple[Entry, ...]:
    """Every finding about a config; no error among them means that Ignition takes it."""
    return (*problems(config), *duplicates(config))


def problems(config: Config) -> tuple[Entry, ...]:
    """What is wrong besides duplicates; Ignition names it before them, Butane after."""
    found: list[Entry] = []
    minor = spec.minor(config.ignition.version)
    _check_unit_paths(config, found)
    _check_ignition(config.ignition, minor, found)
    check_storage(config.storage, minor, found)
    check_systemd(config.systemd, found)
    return tuple(found)


def _check_ignition(ignition: Ignition, minor: int, found: list[Entry]) -> None:
    refs = ignition.config
    authorities = ignition.security.tls.certificate_authorities
    if refs.merge:
        _check_merge(refs.merge, minor, found)
    check_resource(refs.replace, minor, ("ignition", "config", "replace"), found)
    _check_proxy(ignition.proxy, found)
    if authorities:
        _check_authorities(authorities, minor, found)


def _check_merge(merge: tuple[Resource, ...], minor: int, found: list[Entry]) -> None:
    at = ("ignition", "config", "merge")
    if minor > 0:
        for index, resource in enumerate(merge):
            check_required_source(resource, minor, (*at, index), found)
    for index, resource in enumerate(merge):
        check_resource(resource, minor, (*at, index), found)


def _check_authorities(authorities: tuple[Resource, ...], minor: int, found: list[Entry]) -> None:
    at = ("ignition", "security", "tls", "certificateAuthorities")
    for index, resource in enumerate(authorities):
        if minor > 0:
            check_required_source(resource, minor, (*at, index), found)
        elif not resource.source:
            found.append(error("invalid url scheme", (*at, index, "source")))
    for index, resource in enumerate(authorities):
        check_resource(resource, minor, (*at, index), found)


def _check_proxy(proxy: Proxy, found: list[Entry]) -> None:
    at = ("ignition", "proxy")
    _check_proxy_url(proxy.http_proxy, (*at, "httpProxy"), found, plain_ok=True)
    _check_proxy_url(proxy.https_proxy, (*at, "httpsProxy"), found, plain_ok=False)


def _check_proxy_url(url: str | None, at: tuple[str, ...], found: list[Entry], *, plain_ok: bool) -> None:
    if url is None:
        return
    try:
        name = scheme(url)
    except UrlError as problem:
        found.append(error(str(problem), at))
        return
    if name not in ("http", "https"):
        found.append(error("proxies must be http(s)", at))
    elif name == "http" and not plain_ok:
        found.append(warning("insecure plaintext HTTP proxy specified for HTTPS resources", at))


def _check_unit_paths(config: Config, found: list[Entry]) -> None:
    taken = set()
    for unit in config.systemd.units:
        if unit.contents:
            taken.add(UNIT_DIRECTORY + unit.name)
        taken |= {f"{UNIT_DIRECTORY}{unit.name}.d/{d.name}" for d in unit.dropins if d.contents}
    storage = config.storage
    lists: tuple[tuple[str, tuple[Directory | File | Link, ...]], ...] = (
        ("files", storage.files),
        ("directories", storage.directories),
        ("links", storage.links),
    )
    for name, nodes in lists:
        for index, node in enumerate(nodes):
            if node.path in taken:
                at = ("storage", name, index, "path")
                found.append(error("path conflicts with systemd unit or dropin", at))
