"""YAML and JSON text to typed values, every error at once with line and column (DESIGN §3, "The decoder")."""

from __future__ import annotations

from flatyard.decode.api import Decoded, decode, encode, from_json
from flatyard.decode.context import At
from flatyard.decode.dialects import BUTANE, IGNITION, KUBERNETES, Dialect
from flatyard.decode.node import LIMITS, Limits, Node, Reading
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool, Duration, IntOrString, KeyRef, Quantity, Raw

__all__ = [
    "BUTANE",
    "IGNITION",
    "JSON",
    "KUBERNETES",
    "LIMITS",
    "At",
    "ConfigVar",
    "ConfigVarBool",
    "Decoded",
    "Dialect",
    "Duration",
    "IntOrString",
    "KeyRef",
    "Limits",
    "Node",
    "Quantity",
    "Raw",
    "Reading",
    "decode",
    "encode",
    "from_json",
]
