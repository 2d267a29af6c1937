"""URLs as the reference judges them: what Go's `net/url` refuses to parse, and the schemes Ignition takes."""

from __future__ import annotations

from flatyard.base.patterns import pattern
from flatyard.ignition import dataurl

_CONTROL = pattern("[\x00-\x1f\x7f]")
_SCHEME = pattern(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_BAD_ESCAPE = pattern(r"%(?![0-9A-Fa-f]{2})")
_HOST = pattern(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:<>\"\[\]]|[^\x00-\x7f]|%[89A-Fa-f][0-9A-Fa-f])*+")
_USERINFO = pattern(r"(?a)[\w\-.:~!$&'()*+,;=%@]*")
_PORT = pattern(r":[0-9]*")
_ARN_PARTS = 6


class UrlError(ValueError):
    """A URL that the reference refuses; the text is its message."""


def scheme(url: str) -> str:
    """The lower-case scheme, empty when there is none.

    Raises UrlError("unable to parse url") for what Go's `url.Parse` refuses.
    """
    if _CONTROL.search(url) or url.startswith(":"):
        raise UrlError("unable to parse url")
    match = _SCHEME.match(url)
    name = match[1].lower() if match else ""
    rest, _, fragment = url[match.end() if match else 0 :].partition("#")
    rest = rest.partition("?")[0]
    if not _is_rest_valid(name, rest) or _BAD_ESCAPE.search(fragment):
        raise UrlError("unable to parse url")
    return name


def check_source(url: str, minor: int) -> None:
    """Refuses what spec 3.`minor` does not take as a source.

    Raises UrlError, or dataurl.DataUrlError (a ValueError too) for a malformed `data:` URL.
    """
    name = scheme(url)
    if name in ("http", "https", "tftp") or (name == "gs" and minor >= 2):
        return
    if name == "s3":
        _check_version_id(url)
    elif name == "arn" and minor >= 4:
        _check_arn(url)
    elif name == "data":
        dataurl.decode(url)
    else:
        raise UrlError("invalid url scheme")


def _is_rest_valid(name: str, rest: str) -> bool:
    if not rest.startswith("/"):
        if name:
            return True
        return ":" not in rest.partition("/")[0] and not _BAD_ESCAPE.search(rest)
    if rest.startswith("//") and (name or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        return _is_authority_valid(authority) and not _BAD_ESCAPE.search(slash + path)
    return not _BAD_ESCAPE.search(rest)


def _is_authority_valid(authority: str) -> bool:
    userinfo, _, host = authority.rpartition("@")
    if userinfo and (_BAD_ESCAPE.search(userinfo) or not _USERINFO.fullmatch(userinfo)):
        return False
    if host.startswith("["):
        bracket = host.rfind("]")
        port = host[bracket + 1 :]
        return bracket > 0 and (not port or _PORT.fullmatch(port) is not None)
    colon = host.rfind(":")
    if colon >= 0 and not _PORT.fullmatch(host[colon:]):
        return False
    return _HOST.fullmatch(host) is not None


def _check_version_id(url: str) -> None:
    query = url.partition("#")[0].partition("?")[2]
    from urllib.parse import parse_qs

    values = parse_qs(query, keep_blank_values=True).get("versionId")
    if values is not None and not values[0]:
        raise UrlError("invalid S3 object VersionId")


def _check_arn(url: str) -> None:
    full = "arn:" + url.partition("#")[0].partition("?")[0][len("arn:") :]
    parts = full.split(":", _ARN_PARTS - 1)
    slashes = full.count("/")
    if len(parts) < _ARN_PARTS or parts[2] != "s3":
        raise UrlError("invalid S3 ARN format")
    if slashes < (2 if parts[-1].startswith("accesspoint/") else 1):
        raise UrlError("invalid S3 ARN format")
    _check_version_id(url)
