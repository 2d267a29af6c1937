"""The identity of a machine template: what makes it another one, so that machines are replaced."""

from __future__ import annotations

import base64
import copy
import hashlib
import json

from flatyard.kube.api import Json

HASH_LENGTH = 10


def template_hash(template: Json, *, in_place: bool) -> str:
    """A name-safe hash of a machine template.

    With `updates.strategy: inPlace` the kubelet version does not count: the coordinator moves it on living
    machines (DESIGN §3 "Nodes").
    """
    counted = copy.deepcopy(template)
    if in_place:
        (counted.get("spec") or {}).pop("versions", None)
    text = json.dumps(_without_empty(counted), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:HASH_LENGTH]


def _without_empty(value: object) -> object:
    """Absent, null and empty mean the same in a template."""
    if isinstance(value, dict):
        kept = {k: _without_empty(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, "", {}, [])}
    if isinstance(value, list):
        return [_without_empty(v) for v in value]
    return value
