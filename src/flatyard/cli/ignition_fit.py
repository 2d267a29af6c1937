"""What `flatyard ignition fit` says and writes."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from flatyard.base.errors import Exit, Failed
from flatyard.cli.options import talk_of
from flatyard.ignition import spec
from flatyard.ignition.encode import encode
from flatyard.ignition.fit import Share, budget, inline, stub
from flatyard.ignition.report import visible
from flatyard.ignition.types import Config
from flatyard.ignition.validate_resource import source_problem

_FETCHED = ("http://", "https://", "tftp://", "s3://", "gs://", "arn:")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options; `limit` in bytes before base64, `note` says where a platform's comes from."""

    limit: int
    gzip_allowed: bool
    platform: str
    note: str
    url: str
    payload: str
    write: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """User data that can be made (None: it does not fit), its form, and what else there is to say."""

    form: str
    data: bytes | None
    config_size: int
    size: int
    stub_size: int
    sha512: str
    shares: tuple[Share, ...]


def wanted(options: Mapping[str, object]) -> Wanted:
    """The options of the command line. Raises click.UsageError for those that do not go together."""
    platform, limit = str(options["platform"] or ""), options["limit"]
    url, payload = str(options["url"] or ""), str(options["payload"] or "")
    if not platform and not limit:
        raise click.UsageError("--limit BYTES or --platform NAME is needed.")
    if platform and limit:
        raise click.UsageError("--limit and --platform exclude each other.")
    if payload and not url:
        raise click.UsageError("--payload goes with --stub URL.")
    if url and not url.lower().startswith(_FETCHED):
        raise click.UsageError(f"--stub needs a URL that a machine can fetch: {', '.join(_FETCHED)}")
    bytes_taken, takes_gzip, note = _of_platform(platform) if platform else (limit, False, "")
    assert isinstance(bytes_taken, int)
    takes_gzip = takes_gzip or bool(options["gzip_allowed"])
    write = str(options["write"] or "")
    return Wanted(bytes_taken, takes_gzip, platform, note, url, payload, write)


def _of_platform(name: str) -> tuple[int, bool, str]:
    """The limit before base64, whether gzip is taken, and the limit as the platform states it."""
    from flatyard.clouds.table import entry, facts
    from flatyard.model.traits import UserDataEncoding

    rule = facts(name).user_data
    takes_gzip = rule.encoding is UserDataEncoding.GZIP_BASE64
    title = entry(name).title
    if not rule.after_encoding:
        return rule.limit, takes_gzip, f"{title} takes {rule.limit} bytes"
    return rule.limit // 4 * 3, takes_gzip, f"{title} takes {rule.limit} bytes of base64"


def run(config: Config, asked: Wanted, file: str, *, as_json: bool) -> int:
    """Says what fits and writes what is asked for; the exit code. Raises Failed where a file cannot be written."""
    if asked.url:
        problem = source_problem(asked.url, spec.minor(config.ignition.version))
        if problem:
            raise click.UsageError(f"--stub: {problem}")
    fitted = _fitted(config, asked)
    if fitted.data is not None:
        if asked.write:
            _write(asked.write, fitted.data)
        if asked.payload:
            _write(asked.payload, encode(config))
    if as_json:
        talk_of().data(json.dumps(_as_json(fitted, asked), indent=2, ensure_ascii=False))
    elif asked.url:
        _say_stub(fitted, asked)
    else:
        _say_inline(fitted, asked, file)
    return Exit.DONE if fitted.data is not None else Exit.FAILED


def _fitted(config: Config, asked: Wanted) -> Fitted:
    whole = encode(config)
    digest = hashlib.sha512(whole).hexdigest()
    pointer = encode(stub(config, asked.url, digest))
    stub_size = len(pointer) - len(asked.url.encode())
    if asked.url:
        form, size = "stub", len(pointer)
        data = pointer if size <= asked.limit else None
    else:
        data = inline(config, asked.limit, gzip_allowed=asked.gzip_allowed)
        form = "inline" if data is None or len(data) == len(whole) else "gzip"
        size = len(whole) if data is None else len(data)
    return Fitted(form, data, len(whole), size, stub_size, digest, budget(config))


def _say_inline(fitted: Fitted, asked: Wanted, file: str) -> None:
    talk = talk_of()
    if fitted.data is not None:
        form = "inline" if fitted.form == "inline" else f"inline, gzip of {fitted.config_size} bytes"
        talk.data(f"{form}: {fitted.size} of {asked.limit} bytes")
        return
    if asked.note:
        talk.say(asked.note)
    over = fitted.size - asked.limit
    talk.data(f"too large: {fitted.size} bytes, {over} more than {asked.limit}; the largest entries:")
    for share in fitted.shares:
        talk.data(f"{share.size:>10}  {visible(share.entry)}")
    where = f"--platform {asked.platform}" if asked.platform else f"--limit {asked.limit}"
    talk.data(f"a stub that fetches it takes {fitted.stub_size} bytes and its URL's")
    if fitted.stub_size < asked.limit:
        command = f"flatyard ignition fit {where} --stub URL --payload PATH {shlex.quote(file)}"
        talk.next((command, "PATH is what URL must serve"))


def _say_stub(fitted: Fitted, asked: Wanted) -> None:
    """The stub is data unless it was written; the rest is talk."""
    talk = talk_of()
    if fitted.data is None:
        talk.error(f"the stub takes {fitted.size} bytes, {fitted.size - asked.limit} more than {asked.limit}")
        return
    if not asked.write:
        click.echo(fitted.data)
    talk.say(f"stub: {fitted.size} of {asked.limit} bytes; {asked.url} must serve {fitted.config_size} bytes")
    talk.say(f"their sha512: {fitted.sha512}")
    if fitted.config_size <= asked.limit:
        talk.say("the config itself would fit inline")


def _as_json(fitted: Fitted, asked: Wanted) -> dict[str, object]:
    return {
        "fits": fitted.data is not None,
        "form": fitted.form,
        "size": fitted.size,
        "limit": asked.limit,
        "platform": asked.platform,
        "config": {"size": fitted.config_size, "sha512": fitted.sha512},
        "stub": {"size": fitted.stub_size, "url": asked.url},
        "entries": [{"entry": share.entry, "size": share.size} for share in fitted.shares],
    }


def _write(path: str, data: bytes) -> None:
    try:
        Path(path).write_bytes(data)
    except OSError as problem:
        raise Failed(f"cannot write {path}", why=problem.strerror or str(problem)) from problem
