"""The user's own configs: Ignition as JSON (text or inline), to be laid over ours.

Older Ignition 3.x documents are raised to our version, so that merging does not lower it.
"""

from __future__ import annotations

import json

from flatyard.base.errors import InvalidInput, Position, Problem, Severity
from flatyard.decode import Raw
from flatyard.ignition import SPEC_VERSION, Config
from flatyard.ignition import spec as specs
from flatyard.ignition.parse import read, up_translate


def read_extra(raw: Raw, where: str = "ignition") -> Config:
    """One config of the user's. `where` names it in messages.

    Raises InvalidInput with every error that Ignition would find. Files must have been read before.
    """
    text = raw.value if isinstance(raw.value, str) else json.dumps(raw.value)
    if _is_butane(raw.value):
        raise InvalidInput(
            [_problem(raw, where, "Butane is not read here yet")],
            next="translate it with butane and give the Ignition that it prints",
        )
    document = read(text.encode())
    if document.config is None or not document.is_valid:
        raise InvalidInput([_located(raw, where, entry.problem(where)) for entry in document.report])
    if specs.minor(document.config.ignition.version) < specs.minor(SPEC_VERSION):
        return up_translate(document.config, SPEC_VERSION)
    return document.config


def _is_butane(value: object) -> bool:
    if isinstance(value, str):
        return not value.lstrip().startswith("{")
    return isinstance(value, dict) and "variant" in value


def _located(raw: Raw, where: str, problem: Problem) -> Problem:
    """An inline mapping has no text of its own: its place is where it begins in the document around it."""
    return problem if isinstance(raw.value, str) else _problem(raw, where, problem.what, problem.path)


def _problem(raw: Raw, where: str, what: str, path: str = "") -> Problem:
    position = Position(where, raw.node.line, raw.node.column) if raw.node is not None else None
    return Problem(Severity.ERROR, position, path or where, what)
