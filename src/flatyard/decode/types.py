"""The value types that fields may have beyond Python's own (DESIGN §3: the list is closed)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from flatyard.decode.node import Node

# Union and not "|": the alias names itself, and a string operand has no "|" at run time.
JSON: TypeAlias = Union[bool, int, float, str, list["JSON"], dict[str, "JSON"], None]  # noqa: UP007
IntOrString: TypeAlias = int | str

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{0,9})?(?:h|ms|us|µs|ns|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d*)?)(h|ms|us|µs|ns|m|s)")
_NUMBER = r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))"
_QUANTITY = re.compile(_NUMBER + r"(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?", re.ASCII)
_SCALE = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@dataclass(frozen=True, slots=True)
class Raw:
    """A value kept as it was written; ``node`` has its places when it came from a file."""

    value: JSON
    node: Node | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class KeyRef:
    """One key of a Secret or ConfigMap."""

    namespace: str = ""
    name: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ConfigVar:
    """machine-controller's ConfigVarString: a plain text, or where to read it (secret, config map, value)."""

    value: str = ""
    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None

    def __bool__(self) -> bool:
        """Whether anything was given."""
        return bool(self.value) or self.secret_key_ref is not None or self.config_map_key_ref is not None


@dataclass(frozen=True, slots=True)
class ConfigVarBool:
    """machine-controller's ConfigVarBool: true, false, or where to read it; ``value`` None means not given."""

    value: bool | None = None
    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in seconds, written as Go's time.ParseDuration takes it (``90m``, ``1h30m``)."""

    seconds: float

    @staticmethod
    def parse(text: str) -> Duration:
        """Read ``1h30m``; raises ValueError."""
        if not _DURATION.fullmatch(text):
            raise ValueError(text)
        return Duration(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))

    def __str__(self) -> str:
        """The shortest spelling in whole hours, minutes and seconds (``4h``, ``1h30m``)."""
        hours, rest = divmod(self.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        parts = [f"{n:g}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (round(seconds, 9), "s")) if n]
        return "".join(parts) or "0s"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A Kubernetes resource quantity (apimachinery ``resource.Quantity``): ``500m``, ``1Gi``, ``1e3``."""

    text: str

    @staticmethod
    def parse(text: str) -> Quantity:
        """Check and keep the spelling; raises ValueError."""
        if not _QUANTITY.fullmatch(text):
            raise ValueError(text)
        return Quantity(text)

    @property
    def value(self) -> Decimal:
        """The number itself, in units (bytes, cores)."""
        match = _QUANTITY.fullmatch(self.text)
        assert match
        number, suffix, exponent = match.groups()
        if suffix and suffix.endswith("i"):
            return Decimal(number) * (1 << 10 * ("KMGTPE".index(suffix[0]) + 1))
        return Decimal(number).scaleb(_SCALE[suffix] if suffix else int(exponent or 0))
