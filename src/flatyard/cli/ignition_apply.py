"""`flatyard ignition apply FILE ROOT`: Ignition's files stage below a directory of this machine's disk.

Light until it is called: nothing of the web is imported before something must be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit, Failed, Refused
from flatyard.cli.durations import Duration
from flatyard.cli.ignition_inputs import Input, raw_errors, tell
from flatyard.cli.options import common, output, talk_of
from flatyard.ignition.report import is_fatal, visible

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from flatyard.cli.talk import Talk
    from flatyard.ignition.apply import ApplyError
    from flatyard.ignition.changes import Change
    from flatyard.ignition.fetch import Blobs
    from flatyard.ignition.http import HttpFetcher
    from flatyard.ignition.resolve import InvalidConfig
    from flatyard.ignition.root_directory import DirectoryRoot
    from flatyard.ignition.types import Config, HttpHeader, Ignition, Resource

_DAY = 24 * 60 * 60
FEW = 3
"""Owners that could not be set which a warning names without -v."""
_FRESH = "begin again with a fresh copy of the directory"


@click.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("root", type=click.Path(exists=True, file_okay=False))
@click.option("--offline", is_flag=True, help="Fetch nothing; a config that needs it is refused.")
@click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long one resource may take to fetch, all attempts together; 0: for ever, as on a machine.",
)
@click.option("--this-machine", is_flag=True, help="ROOT may be /, the running system.")
@raw_errors
@output("text", "json")
@common
def apply_command(
    file: str, root: str, offline: bool, timeout: float, this_machine: bool, raw_errors: bool, output: str
) -> int:
    """Do to the directory ROOT what FILE does to a machine.

    Users, groups, SSH keys, directories, files, links, units and presets, in the way of Ignition 2.24 in Flatcar;
    links never lead out of ROOT. Disks, filesystems and kernel arguments are left out, with a warning. Nothing is
    touched unless FILE is valid; after that it stops at the first error and undoes nothing, as on a machine.

    Users other than root cannot set owners: files stay theirs, and a warning says which.
    """
    from flatyard.ignition import spec
    from flatyard.ignition.parse import read

    given = Input(file, lambda data: read(data, release=spec.FLATCAR))
    tell([given], raw_errors)
    if not given.is_valid:
        return Exit.FAILED
    with ExitStack() as stack:
        directory = stack.enter_context(_opened(root, this_machine=this_machine))
        web = stack.enter_context(_web(talk_of(), offline=offline, seconds=timeout))
        config = web.resolve(given.data)
        _warn_of_the_rest(config)
        _check_sources(config, offline=offline)
        return _carry_out(config, directory, web.blobs, root, output)


@contextmanager
def _opened(root: str, *, this_machine: bool) -> Iterator[DirectoryRoot]:
    from flatyard.ignition.root_directory import DirectoryRoot
    from flatyard.ignition.tree import RootError

    try:
        directory = DirectoryRoot(root)
    except RootError as problem:
        raise click.BadParameter(f"{problem}.", param_hint="'ROOT'") from None
    with directory:
        if directory.is_whole_machine and not this_machine:
            raise Refused(
                f"{root} is the running system",
                why="its accounts, files and units would be overwritten, and nothing is undone",
                next="name another directory, or add --this-machine",
            )
        if not directory.is_writable:
            raise click.BadParameter(f"Directory {root!r} is not writable.", param_hint="'ROOT'")
        yield directory


# ---- fetching


@contextmanager
def _web(talk: Talk, *, offline: bool, seconds: float) -> Iterator[_Web]:
    import asyncio

    with asyncio.Runner() as runner:
        web = _Web(runner, talk, offline=offline, seconds=seconds)
        try:
            yield web
        finally:
            web.close()


class _Web:
    """What is elsewhere, each resource when its turn comes, as on a machine: a `Fetcher`, and `Blobs`."""

    def __init__(self, runner: asyncio.Runner, talk: Talk, *, offline: bool, seconds: float) -> None:
        self._runner = runner
        self._talk = talk
        self._offline = offline
        self._seconds = seconds
        self._http: HttpFetcher | None = None
        self._settings: Ignition | None = None

    def resolve(self, data: bytes) -> Config:
        """The final config, with what it merges. Raises Failed."""
        from flatyard.ignition.resolve import FetchError, InvalidConfig, resolve

        try:
            return self._runner.run(resolve(data, self, settle=self.settle)).config
        except InvalidConfig as problem:
            raise _invalid(problem) from None
        except FetchError as problem:
            raise Failed(
                "nothing was touched: the config is not complete", why=visible(str(problem))
            ) from None

    def blobs(self, resource: Resource) -> bytes:
        """The final bytes of a resource. Raises FetchError."""
        from flatyard.ignition import fetch

        if fetch.is_inline(resource):
            return fetch.inline_bytes(resource)
        self._talk.detail(f"fetching {visible(fetch.shown(resource.source or ''))}")
        return self._runner.run(fetch.fetch(resource, self))

    async def settle(self, ignition: Ignition) -> None:
        """As `HttpFetcher.settle`, once there is something to fetch."""
        self._settings = ignition
        if self._http is not None:
            await self._http.settle(ignition)

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """As `HttpFetcher.fetch`."""
        from flatyard.ignition.fetch import FetchError, shown

        if self._offline:
            raise FetchError(f"{shown(url)}: not fetched, because of --offline")
        if self._http is None:
            from flatyard.ignition.http import HttpFetcher

            self._http = HttpFetcher(seconds=self._seconds, say=lambda text: self._talk.say(visible(text)))
            if self._settings is not None:
                await self._http.settle(self._settings)
        return await self._http.fetch(url, headers)

    def close(self) -> None:
        """Ends the connections."""
        if self._http is not None:
            self._runner.run(self._http.close())


def _invalid(problem: InvalidConfig) -> Failed:
    """A config that another one refers to, or what they are together."""
    from flatyard.ignition.fetch import is_inline, shown
    from flatyard.ignition.types import Resource

    talk = talk_of()
    where = "the merged config"
    if problem.source:
        where = (
            "a config inside"
            if is_inline(Resource(source=problem.source))
            else visible(shown(problem.source))
        )
    for entry in problem.report:
        if is_fatal((entry,)) or not talk.quiet:
            click.echo(f"{where}: {visible(str(entry))}", err=True)
    return Failed(f"nothing was touched: {where} cannot be used", why=visible(str(problem)))


def _check_sources(config: Config, *, offline: bool) -> None:
    """Before anything is touched: whether everything can be fetched at all."""
    from flatyard.ignition import fetch

    for resource in fetch.remote_files(config):
        source = resource.source or ""
        try:
            fetch.check_scheme(source)
        except fetch.FetchError as problem:
            raise Failed(
                "nothing was touched: a source cannot be fetched", why=visible(str(problem))
            ) from None
    sources = [visible(fetch.shown(resource.source or "")) for resource in fetch.remote_files(config)]
    if offline and sources:
        why = f"--offline, and the config needs {', '.join(sources)}"
        raise Failed("nothing was touched: resources would have to be fetched", why=why)


# ---- doing


def _carry_out(config: Config, directory: DirectoryRoot, blobs: Blobs, root: str, output: str) -> int:
    from flatyard.base.world import RealWorld
    from flatyard.ignition.apply import ApplyError, Options, apply
    from flatyard.ignition.changes import Noting
    from flatyard.ignition.tree import RootError

    noting = Noting(directory)
    failure: ApplyError | None = None
    try:
        apply(config, noting, blobs, Options(day=int(RealWorld().now().timestamp()) // _DAY))
    except ApplyError as problem:
        failure = problem
    try:
        changes = noting.changes()
        kept = [
            change
            for change in changes
            if change.action != "removed" and not directory.has_owner(change.path)
        ]
    except RootError as problem:
        raise Failed(
            f"{root} changed while it was written to: {visible(str(problem))}", next=_FRESH
        ) from None
    _print(changes, kept, directory, root, output)
    if failure is not None:
        raise _failed(failure) from None
    return Exit.DONE


def _failed(failure: ApplyError) -> Failed:
    return Failed(visible(str(failure)), next=_next_after(failure))


def _next_after(failure: ApplyError) -> str:
    """What helps, as far as the cause tells."""
    import errno

    from flatyard.ignition.fetch import FetchError

    cause = failure.__cause__
    if isinstance(cause, FetchError):
        return _FRESH if cause.is_final else f"a longer --timeout; {_FRESH}"
    number = cause.errno if isinstance(cause, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"make room; {_FRESH}"
    if number in (errno.EACCES, errno.EPERM):
        return f"run it as a user who may, or as root; {_FRESH}"
    if "overwrite is false" in str(failure):
        return f"give this entry overwrite: true, or {_FRESH}: a machine is written once"
    return _FRESH


# ---- saying


def _print(
    changes: tuple[Change, ...], unset: list[Change], directory: DirectoryRoot, root: str, output: str
) -> None:
    talk = talk_of()
    if output == "json":
        kept = {change.path for change in unset}
        talk.data(json.dumps([_as_json(change, change.path not in kept) for change in changes], indent=2))
    else:
        names = _Names(directory)
        if talk.verbose:
            for change in changes:
                talk.data(visible(_line(change, names)))
        talk.data(f"{_counts(changes)} below {visible(root)}")
    if unset and output != "json":
        _warn_of_owners(unset, talk)


def _as_json(change: Change, owner_is_set: bool) -> dict[str, object]:
    entry: dict[str, object] = {
        "path": change.path,
        "action": change.action.value,
        "kind": change.kind.value,
        "mode": f"{change.mode:04o}",
        "uid": change.uid,
        "gid": change.gid,
        "ownerIsSet": owner_is_set,
    }
    return entry | ({"target": change.target} if change.kind == "link" else {})


def _counts(changes: Iterable[Change]) -> str:
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.action.value] = counts.get(change.action.value, 0) + 1
    words = [
        f"{counts[action]} {action}"
        for action in ("created", "changed", "replaced", "removed")
        if action in counts
    ]
    return ", ".join(words) or "nothing changed"


def _line(change: Change, names: _Names) -> str:
    """As `show` has it: the path, then mode and owner."""
    where = f"{change.path} -> {change.target}" if change.kind == "link" else change.path
    mode = "" if change.kind == "link" else f"  {change.mode:04o}"
    start = f"{change.action.value:<8}  {change.kind.value:<4}  {where}"
    return start if change.action == "removed" else f"{start}{mode}  {names.owner(change)}"


class _Names:
    """Names of owners by the account files of the directory; numbers where it has none."""

    def __init__(self, directory: DirectoryRoot) -> None:
        self.users = _numbered(directory, "/etc/passwd")
        self.groups = _numbered(directory, "/etc/group")

    def owner(self, change: Change) -> str:
        """In chown's notation."""
        user = self.users.get(change.uid, str(change.uid))
        return f"{user}:{self.groups.get(change.gid, str(change.gid))}"


def _numbered(directory: DirectoryRoot, file: str) -> dict[int, str]:
    from flatyard.ignition.accounts import Accounts
    from flatyard.ignition.tree import RootError

    found = {0: "root"}
    try:
        rows = Accounts(directory, 0).rows(file)
    except RootError:
        return found
    numbered = [(int(row[2]), row[0]) for row in rows if len(row) > 2 and row[2].isdecimal()]
    return found | dict(reversed(numbered))


def _warn_of_owners(unset: list[Change], talk: Talk) -> None:
    """Those that are not root's first: they are the ones that a reader must know of."""
    unset = sorted(unset, key=lambda change: (change.uid, change.gid) == (0, 0))
    named = unset if talk.verbose else unset[:FEW]
    few = ", ".join(f"{visible(change.path)} ({change.uid}:{change.gid})" for change in named)
    more = f" and {len(unset) - len(named)} more" if len(unset) > len(named) else ""
    noun = "owner" if len(unset) == 1 else "owners"
    talk.say(f"{_warning(talk)} {len(unset)} {noun} could not be set by this user: {few}{more}")
    talk.say(f"  {talk.style('next:', 'hint')} run it as root where owners matter")


def _warn_of_the_rest(config: Config) -> None:
    """What a directory has no place for."""
    talk = talk_of()
    storage = config.storage
    parts = [
        *(f"disk {disk.device}" for disk in storage.disks),
        *(f"raid /dev/md/{raid.name}" for raid in storage.raid),
        *(f"encrypted volume /dev/mapper/{volume.name}" for volume in storage.luks),
        *(
            f"filesystem {made.device}{f' at {made.path}' if made.path else ''}"
            for made in storage.filesystems
        ),
    ]
    if parts:
        what = f"a directory has no disks; left out: {', '.join(parts)}"
        talk.say(f"{_warning(talk)} {visible(what)}")
        if any(made.path for made in storage.filesystems):
            talk.say("  files below their mount points are written into the directory")
    arguments = config.kernel_arguments
    changed = [*arguments.should_exist, *(f"not {argument}" for argument in arguments.should_not_exist)]
    if changed:
        talk.say(f"{_warning(talk)} kernel arguments are left out: {visible(', '.join(changed))}")


def _warning(talk: Talk) -> str:
    return talk.style("warning:", "warning")
