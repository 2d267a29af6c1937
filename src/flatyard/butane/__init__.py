"""Butane (variant `flatcar`) → Ignition: per version its keys, checks and spec, with a source map.

`translate(text, files=…)` is the door. Nothing here does I/O; local files come through a `FilesDir`.
"""

from __future__ import annotations

from flatyard.butane.files import FilesDir, LocalEntry, LocalFileError
from flatyard.butane.translate import Translation, translate

__all__ = ["FilesDir", "LocalEntry", "LocalFileError", "Translation", "translate"]
