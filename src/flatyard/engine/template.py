"""The identity of a machine template: what makes it another one, so that machines are replaced."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

from flatyard.decode import encode, from_json
from flatyard.kube.api import Json
from flatyard.model.machine import MachineTemplate, MachineVersions

HASH_LENGTH = 10


def template_hash(template: Json, *, in_place: bool) -> str:
    """A name-safe hash of what a machine template means: defaults written out or left out are the same.

    With `updates.strategy: inPlace` the kubelet version does not count: the coordinator moves it on living
    machines (DESIGN §3 "Nodes"). Raises InvalidInput for a template that cannot be read.
    """
    meant = from_json(MachineTemplate, template)
    if in_place:
        meant = replace(meant, spec=replace(meant.spec, versions=MachineVersions()))
    text = json.dumps(encode(meant), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:HASH_LENGTH]
