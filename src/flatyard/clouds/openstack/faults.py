"""Why a server is in ERROR, in words: Nova's faults are written for operators."""

from __future__ import annotations

from collections.abc import Mapping

_NO_HOST = "No valid host was found"
_WORDS: tuple[tuple[str, str], ...] = (
    (
        _NO_HOST,
        "no host has room for it: another flavor or zone, or later; openstack limits show --absolute shows the quota",
    ),
    (
        "Exceeded maximum number of retries",
        "several hosts failed to build it: again later, or another flavor",
    ),
    ("PortInUse", "its port belongs to another server"),
    ("is still in use", "its port belongs to another server"),
    (
        "Block Device Mapping is Invalid",
        "its volume could not be made: the quota of volumes, or the volume type",
    ),
    (
        "VolumeLimitExceeded",
        "the quota of volumes is used up: openstack quota show --volume",
    ),
    (
        "VolumeSizeExceedsAvailableQuota",
        "the quota of volumes' size is used up: openstack quota show --volume",
    ),
    ("Build of instance", "the host could not build it: again later; the site's support knows more"),
    ("Image", "its image cannot be used: openstack image show tells its state and least disk"),
    ("Quota exceeded", "a quota is used up: openstack limits show --absolute"),
    ("Volume", "its volume could not be attached: openstack volume list shows the state"),
)


def has_no_room(fault: object) -> bool:
    """Whether no host in the zone would take it."""
    return _NO_HOST in _message(fault)


def _message(fault: object) -> str:
    return str(fault.get("message") or "") if isinstance(fault, Mapping) else ""


def told(fault: object) -> str:
    """The fault's message, and what helps where that is known."""
    message = _message(fault)
    if not message:
        return "Nova gives no reason"
    first = message.strip().splitlines()[0].rstrip(". ")
    for part, words in _WORDS:
        if part in message:
            return f"{first}: {words}"
    return first
