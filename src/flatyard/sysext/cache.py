"""Where downloads and builds are kept between runs: `$FLATYARD_CACHE`, else `~/.cache/flatyard`.

Downloads are kept under the sha256 of their bytes, so a file that is there under its name is the right one once it
has been hashed again; whatever is not complete has another name.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder; it need not exist yet."""
    given = os.environ.get("FLATYARD_CACHE")
    return Path(given) if given else Path.home() / ".cache/flatyard"


def by_sha256(sha256: str) -> Path:
    """Where a download with this hash (64 hexadecimal digits) is kept."""
    return cache_folder() / "sha256" / sha256[:2] / sha256
