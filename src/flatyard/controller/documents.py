"""From the files that a command was given to what the engine shall make of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flatyard.base.errors import InvalidInput, Position, Problem, Severity
from flatyard.decode.context import At
from flatyard.decode.types import Raw
from flatyard.engine.wanted import Wanted, wanted_of
from flatyard.model.cluster import Cluster
from flatyard.model.documents import Documents, read

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Given:
    """What a command's files want, with the warnings about them and the places of their fields."""

    wanted: Wanted
    documents: Documents
    texts: tuple[tuple[str, str], ...]

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return self.documents.warnings


def load(files: Sequence[str]) -> Given:
    """Read every file (`-` is standard input), several documents each.

    Raises InvalidInput with every error in every file.
    """
    texts = tuple(_text(name) for name in files)
    documents = read(texts, need_cluster=True)
    cluster = documents.cluster
    assert cluster is not None
    cluster = _with_files(cluster, documents.at_cluster)
    return Given(wanted_of(cluster, documents.machine_deployments), documents, texts)


def _text(name: str) -> tuple[str, str]:
    if name == STDIN:
        return "<stdin>", sys.stdin.read()
    try:
        return name, Path(name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput([_unreadable(Position(name, 1, 1), "", error)]) from None


def _unreadable(position: Position | None, path: str, error: OSError | UnicodeDecodeError) -> Problem:
    what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
    return Problem(Severity.ERROR, position, path, f"the file cannot be read: {what}")


def _with_files(cluster: Cluster, at: At) -> Cluster:
    """The Cluster with the text of each Butane or Ignition file that it names in place of the name."""
    problems: list[Problem] = []
    extras = cluster.spec.ignition
    for role, field in (("all", "all"), ("control_plane", "controlPlane"), ("workers", "workers")):
        places = at("spec", "ignition", field)
        entries = tuple(_inlined(raw, places(i), problems) for i, raw in enumerate(getattr(extras, role)))
        extras = replace(extras, **{role: entries})
    if problems:
        raise InvalidInput(problems)
    return replace(cluster, spec=replace(cluster.spec, ignition=extras))


def _inlined(raw: Raw, at: At, problems: list[Problem]) -> Raw:
    if not isinstance(raw.value, dict) or not isinstance(raw.value.get("file"), str):
        return raw
    path = Path(at.file or "").parent / str(raw.value["file"])
    try:
        return Raw(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError) as error:
        problems.append(_unreadable(at("file").position, at("file").path, error))
        return raw
