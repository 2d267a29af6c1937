"""Rules for resources."""

from __future__ import annotations

from flatyard.ignition.dataurl import is_base64
from flatyard.ignition.report import Entry, Path, error
from flatyard.ignition.types import HttpHeader, Resource, Verification
from flatyard.ignition.urls import UrlError, check_source, scheme

_HEX_LENGTHS = {"sha512": 128, "sha256": 64}
_EMPTY = Resource()


def check_required_source(resource: Resource, minor: int, at: Path, found: list[Entry]) -> None:
    """A source must be there, and be one that the spec takes."""
    problem = source_problem(resource.source, minor) if resource.source else "source is required"
    if problem:
        found.append(error(problem, at))


def source_problem(source: str | None, minor: int) -> str | None:
    """What is wrong with a source; an absent or empty one is fine."""
    if not source or is_base64(source):
        return None
    try:
        check_source(source, minor)
    except ValueError as problem:
        return str(problem)
    return None


def check_resource(resource: Resource, minor: int, at: Path, found: list[Entry]) -> None:
    """Compression, hash, source and headers of one resource."""
    if resource is _EMPTY:
        return
    if resource.compression not in (None, "", "gzip"):
        found.append(error("invalid compression method", (*at, "compression")))
    verification = resource.verification
    if verification.hash is not None and resource.source is None:
        text = "source must be specified if verification is specified"
        found.append(error(text, (*at, "verification", "hash")))
    problem = source_problem(resource.source, minor)
    if problem:
        found.append(error(problem, (*at, "source")))
    if resource.http_headers:
        _check_headers(resource, (*at, "httpHeaders"), found)
    problem = hash_problem(verification, minor)
    if problem:
        found.append(error(problem, (*at, "verification", "hash")))


def hash_problem(verification: Verification, minor: int) -> str | None:
    """What is wrong with a hash; an absent one is fine, and its digits are not looked at."""
    if verification.hash is None:
        return None
    function, dash, digits = verification.hash.partition("-")
    if not dash:
        return "malformed hash specifier"
    if function not in _HEX_LENGTHS or (function == "sha256" and minor == 0):
        return "unrecognized hash function"
    if len(digits.encode()) != _HEX_LENGTHS[function]:
        return "incorrect size for hash sum"
    return None


def _check_headers(resource: Resource, at: Path, found: list[Entry]) -> None:
    problem = _header_scheme_problem(resource.source)
    if problem:
        found.append(error(problem, at))
    for index, header in enumerate(resource.http_headers):
        _check_header(header, (*at, index), found)


def _header_scheme_problem(source: str | None) -> str | None:
    if not source:
        return "unable to parse url"
    try:
        name = scheme(source)
    except UrlError as problem:
        return str(problem)
    return None if name in ("http", "https") else "cannot use HTTP headers with this source scheme"


def _check_header(header: HttpHeader, at: Path, found: list[Entry]) -> None:
    if not header.name:
        found.append(error("HTTP header name can't be empty", (*at, "name")))
    if header.value == "":
        found.append(error("unable to parse HTTP header", (*at, "value")))
