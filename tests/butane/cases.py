"""The documents that the reference translated, with its answers: `golden/cases.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flatyard.ignition import dataurl

GOLDEN = Path(__file__).parent / "golden"
CASES = {c["name"]: c for c in map(json.loads, (GOLDEN / "cases.jsonl").read_text().splitlines())}
GZIP_DECISIONS = {"real-users-hardening"}
"""zlib finds a gzip form that wins here, where Go's does not."""


def unpacked(value: Any) -> Any:
    """JSON with the bytes of `data:` URLs in place of their form."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    source = value.get("source")
    if not isinstance(source, str) or not source.startswith("data:"):
        return {key: unpacked(item) for key, item in value.items()}
    data = dataurl.decode(source)
    if value.get("compression") == "gzip" and data.startswith(b"\x1f\x8b"):
        data = dataurl.decompress(data)
    rest = {key: item for key, item in value.items() if key not in ("source", "compression")}
    return rest | {"bytes": data.hex(), "says compression": "compression" in value}
