"""The user's own configs, Butane or Ignition, as text or inline, to be laid over ours.

Older Ignition 3.x documents are raised to our version, so that merging does not lower it.
"""

from __future__ import annotations

import json

from flatyard.base.errors import InvalidInput, Position, Problem, Severity
from flatyard.butane import translate
from flatyard.decode import Raw
from flatyard.ignition import SPEC_VERSION, Config
from flatyard.ignition import spec as specs
from flatyard.ignition.parse import read, up_translate
from flatyard.ignition.report import Entry


def read_extra(raw: Raw, where: str = "ignition") -> Config:
    """One config of the user's; files must have been read before. `where` names it in messages.

    Raises InvalidInput with every error that Butane or Ignition would find.
    """
    config, problems = _read(raw, where)
    if config is None or any(problem.severity is Severity.ERROR for problem in problems):
        raise InvalidInput(problems)
    if specs.minor(config.ignition.version) < specs.minor(SPEC_VERSION):
        return up_translate(config, SPEC_VERSION)
    return config


def extra_problems(raw: Raw, where: str = "ignition") -> tuple[Problem, ...]:
    """Everything that Butane or Ignition would say about it, warnings too: for plans."""
    return _read(raw, where)[1]


def _read(raw: Raw, where: str) -> tuple[Config | None, tuple[Problem, ...]]:
    text = raw.value if isinstance(raw.value, str) else json.dumps(raw.value)
    if not _is_butane(raw.value):
        document = read(text.encode())
        return document.config, _located(raw, where, document.report)
    result = translate(text)
    problems = _located(raw, where, result.report)
    if result.config is None and not problems:
        problems = (_problem(raw, where, result.error),)
    return result.config, problems


def _is_butane(value: object) -> bool:
    if isinstance(value, str):
        return not value.lstrip().startswith("{") or '"variant"' in value
    return isinstance(value, dict) and "variant" in value


def _located(raw: Raw, where: str, report: tuple[Entry, ...]) -> tuple[Problem, ...]:
    """An inline mapping has no text of its own: its place is where it begins in the document around it."""
    found = tuple(entry.problem(where) for entry in report)
    if isinstance(raw.value, str):
        return found
    return tuple(_problem(raw, where, p.what, p.path, p.severity) for p in found)


def _problem(raw: Raw, where: str, what: str, path: str = "", severity: Severity = Severity.ERROR) -> Problem:
    line, column = (raw.node.line, raw.node.column) if raw.node is not None else (1, 1)
    position = Position(where, line, column)
    return Problem(severity, position, path, what)
