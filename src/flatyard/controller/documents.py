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
from flatyard.model.machine import MachineDeployment
from flatyard.node.extras import extra_problems

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Given:
    """What a command's files want, with the warnings about them and the places of their fields."""

    wanted: Wanted
    documents: Documents
    texts: tuple[tuple[str, str], ...]
    about_extras: tuple[Problem, ...] = ()
    """Warnings about the user's own Butane and Ignition."""

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return (*self.documents.warnings, *self.about_extras)


def load(files: Sequence[str]) -> Given:
    """Read every file (`-` is standard input), several documents each, and the configs that they name.

    Raises InvalidInput with every error in every file.
    """
    texts = tuple(_text(name) for name in files)
    documents = read(texts, need_cluster=True)
    cluster = documents.cluster
    assert cluster is not None
    problems: list[Problem] = []
    cluster = _with_files(cluster, documents.at_cluster, problems)
    for deployment, at in zip(documents.machine_deployments, documents.at_deployments, strict=True):
        problems += _inside(deployment, at)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise InvalidInput([*problems, *documents.warnings])
    wanted = wanted_of(cluster, documents.machine_deployments)
    return Given(wanted, documents, texts, tuple(problems))


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


def _with_files(cluster: Cluster, at: At, problems: list[Problem]) -> Cluster:
    """The Cluster with the text of each Butane or Ignition file that it names in place of the name."""
    extras = cluster.spec.ignition
    for role, field in (("all", "all"), ("control_plane", "controlPlane"), ("workers", "workers")):
        places = at("spec", "ignition", field)
        entries = tuple(_inlined(raw, places(i), problems) for i, raw in enumerate(getattr(extras, role)))
        extras = replace(extras, **{role: entries})
    return replace(cluster, spec=replace(cluster.spec, ignition=extras))


def _inlined(raw: Raw, at: At, problems: list[Problem]) -> Raw:
    if not isinstance(raw.value, dict) or not isinstance(raw.value.get("file"), str):
        problems += _about_inline(raw, at)
        return raw
    path = Path(at.file or "").parent / str(raw.value["file"])
    try:
        text = Raw(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError) as error:
        problems.append(_unreadable(at("file").position, at("file").path, error))
        return raw
    problems += extra_problems(text, str(path))
    return text


def _inside(deployment: MachineDeployment, at: At) -> list[Problem]:
    """What is wrong with the configs that a MachineDeployment carries as text."""
    value = at("spec", "template", "spec", "providerSpec", "value")
    provider = deployment.spec.template.spec.provider_spec.value
    carried = {
        ("operatingSystemSpec", "cloudInit"): provider.operating_system_spec.cloud_init,
        ("overwriteCloudConfig",): provider.overwrite_cloud_config,
    }
    return [p for keys, text in carried.items() if text for p in _about_inline(Raw(text), value(*keys))]


def _about_inline(raw: Raw, at: At) -> list[Problem]:
    """Findings in a config that stands inside another document: at its beginning, with the line inside it."""
    found = []
    for problem in extra_problems(raw, at.file or ""):
        inside = (
            f", line {problem.position.line} of the text" if problem.position and raw.node is None else ""
        )
        what = f"{problem.what}{inside}" if isinstance(raw.value, str) else problem.what
        path = f"{at.path}: {problem.path}" if problem.path else at.path
        found.append(Problem(problem.severity, at.position, path, what))
    return found
