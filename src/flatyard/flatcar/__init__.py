"""Flatcar's channels and releases, and where its images are found on each cloud."""

from __future__ import annotations

from flatyard.flatcar.images import IMAGE_RULES, ImageRule, resolve
from flatyard.flatcar.releases import (
    CHANNELS,
    OLDEST_SUPPORTED,
    Contents,
    channel_of,
    contents,
    is_supported,
    known_releases,
    newest_first,
    newest_release,
    newest_spec,
    release,
    version_key,
)

__all__ = [
    "CHANNELS",
    "IMAGE_RULES",
    "OLDEST_SUPPORTED",
    "Contents",
    "ImageRule",
    "channel_of",
    "contents",
    "is_supported",
    "known_releases",
    "newest_first",
    "newest_release",
    "newest_spec",
    "release",
    "resolve",
    "version_key",
]
