"""What an image says it is: its os-release, as far as the local cloud asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flatyard.sysext.contents import machine_of
from flatyard.sysext.extension_release import parse

STAND_IN = "flatyard-stand-in"
"""VARIANT_ID of our stand-in for Flatcar, wherever its tree went."""
_PLACE = "usr/lib/os-release"
_INIT = "usr/lib/systemd/systemd"
_NAMES = {"x86-64": "amd64", "amd64-usr": "amd64", "arm64": "arm64", "arm64-usr": "arm64"}


@dataclass(frozen=True, slots=True)
class Release:
    """`id`, `version` and `variant` are os-release's ID, VERSION_ID and VARIANT_ID; `arch` is as Kubernetes names it.

    Empty where the image does not say.
    """

    id: str = ""
    version: str = ""
    arch: str = ""
    variant: str = ""

    @property
    def is_stand_in(self) -> bool:
        """Whether this is our stand-in for Flatcar, under whatever name."""
        return self.variant == STAND_IN

    @property
    def title(self) -> str:
        """Like `Flatcar 4593.2.5`."""
        name = {"flatcar": "Flatcar"}.get(self.id, self.id)
        said = f"a stand-in for {name}" if self.is_stand_in else name
        return f"{said} {self.version}".strip()


def release_of(tree: Path) -> Release | None:
    """What a tree with `usr/` says; None where it has no os-release."""
    try:
        fields = parse((tree / _PLACE).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    said = fields.get("ARCHITECTURE") or fields.get("FLATCAR_BOARD", "")
    arch = _NAMES.get(said, said) or _arch_of_init(tree)
    return Release(fields.get("ID", ""), fields.get("VERSION_ID", ""), arch, fields.get("VARIANT_ID", ""))


def _arch_of_init(tree: Path) -> str:
    """By systemd's own header, where os-release keeps silent."""
    init = tree / _INIT
    if init.is_symlink() or not init.is_file():
        return ""
    with init.open("rb") as file:
        found = machine_of(file.read(20)) or ""
    return _NAMES.get(found, found)
