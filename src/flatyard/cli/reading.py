"""Reading a command's files so that problems can be shown with the line that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from flatyard.base.errors import InvalidInput, Position, Problem, Refused, Severity
from flatyard.cli.accounts import asked
from flatyard.cli.talk import Talk
from flatyard.clouds.cloud import NoAccount
from flatyard.clouds.table import unavailable
from flatyard.controller.documents import Given, load
from flatyard.controller.rehearsal import preflight
from flatyard.decode.context import At
from flatyard.engine.wanted import Wanted


def read(files: Sequence[str], talk: Talk) -> Given:
    """What the files want; warnings are said. Raises InvalidInput with every error in them."""
    talk.sources |= {name: _lines(name) for name in files}
    given = load(files)
    talk.sources |= {name: text.splitlines() for name, text in given.texts}
    talk.warn(given.warnings)
    return given


def _lines(name: str) -> list[str]:
    try:
        return Path(name).read_text(encoding="utf-8").splitlines() if name != "-" else []
    except (OSError, UnicodeDecodeError):
        return []


def check(given: Given, talk: Talk, *, act: bool = True) -> None:
    """Refuse what the cloud would refuse, before anything is created; every problem at its place in the files.

    What it would only warn of is said. Who will not `act` may do without an account: then what is known of the
    cloud is asked instead, and that is said too.
    """
    choice = given.wanted.cluster.spec.cloud
    mend = "" if choice.simulated or choice.name == "local" else _MEND
    try:
        with asked(talk):
            found = _found(given.wanted, act=act)
    except NoAccount:
        raise
    except Refused as no:  # a profile, an entry or a project that is not there
        what, mend = no.what + (f" ({no.why})" if no.why else ""), no.next
        found = (Problem(Severity.ERROR, None, "spec.cloud", what),)
    _refuse(found, given, talk, mend)


def check_by_twin(given: Given, talk: Talk) -> None:
    """Refuse what the twin of the cloud would refuse; no account is asked, and none is needed."""
    _refuse(preflight(given.wanted), given, talk, "")


def _refuse(found: tuple[Problem, ...], given: Given, talk: Talk, mend: str) -> None:
    problems = [_placed(problem, given) for problem in found]
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise InvalidInput(problems, next=mend)
    talk.warn(problems)


_MEND = "mend that in the file or in the account, then run the same command again: nothing has been made"


def _found(wanted: Wanted, *, act: bool) -> tuple[Problem, ...]:
    choice = wanted.cluster.spec.cloud
    if choice.name == "local":
        return _on_this_machine(wanted)
    if choice.simulated or unavailable(choice.name):
        return preflight(wanted)
    from flatyard.controller.preflight import in_the_account

    try:
        return in_the_account(wanted)
    except NoAccount as no:
        if act:
            raise
        why = f" ({no.why})" if no.why else ""
        what = f"the account is not asked: {no.what}{why}; checked against what is known of {choice.name}"
        said = Problem(Severity.WARNING, None, "spec.cloud", f"{what}. Next: {no.next}" if no.next else what)
        return (said, *preflight(wanted))


def _on_this_machine(wanted: Wanted) -> tuple[Problem, ...]:
    from flatyard.controller.preflight import on_this_machine

    return on_this_machine(wanted, lambda line: click.echo(line, err=True))


def why_unavailable(given: Given) -> str:
    """Why this release cannot act on the cloud; empty where it can."""
    return unavailable(given.wanted.cluster.spec.cloud.name)


def _placed(problem: Problem, given: Given) -> Problem:
    """A problem of preflight, which knows paths only, with the position of that path."""
    if problem.position is not None:
        return problem
    documents = given.documents
    kind, _, rest = problem.path.partition(": ")
    at = documents.at_cluster
    path = problem.path
    if kind.startswith("MachineDeployment "):
        names = [deployment.metadata.name for deployment in documents.machine_deployments]
        name = kind.removeprefix("MachineDeployment ")
        if name not in names:
            return problem
        at, path = documents.at_deployments[names.index(name)], rest
    position = _position(at, path)
    return Problem(problem.severity, position, path, problem.what, problem.allowed, problem.suggestion)


def _position(at: At, path: str) -> Position | None:
    """Where the deepest part of a dotted path stands that the document has."""
    for part in path.replace("[", ".").replace("]", "").split("."):
        at = at(int(part) if part.isdigit() else part)
    return at.position
