"""YAML and JSON text to typed values, every error at once with line and column (DESIGN §3, "The decoder").

Names are loaded when they are first used: what only needs positioned nodes does not pay for the decoder.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flatyard.decode.api import Decoded, decode, encode, from_json
    from flatyard.decode.context import At
    from flatyard.decode.dialects import BUTANE, IGNITION, KUBERNETES, Dialect
    from flatyard.decode.node import LIMITS, Limits, Node, Reading
    from flatyard.decode.types import (
        JSON,
        ConfigVar,
        ConfigVarBool,
        Duration,
        IntOrString,
        KeyRef,
        Quantity,
        Raw,
    )

_HOMES = {
    "api": ("Decoded", "decode", "encode", "from_json"),
    "context": ("At",),
    "dialects": ("BUTANE", "IGNITION", "KUBERNETES", "Dialect"),
    "node": ("LIMITS", "Limits", "Node", "Reading"),
    "types": ("JSON", "ConfigVar", "ConfigVarBool", "Duration", "IntOrString", "KeyRef", "Quantity", "Raw"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


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
