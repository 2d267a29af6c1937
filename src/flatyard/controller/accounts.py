"""Who a background process asks its cloud as.

A process keeps the environment that it was started in, while tokens in it end after an hour and secrets are changed. A
command that acts therefore compares what it finds with what the process found, and puts another process in its place
when its own credentials lead to the same account and work.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from flatyard.base.errors import FlatyardError
from flatyard.base.world import RealWorld
from flatyard.clouds import table
from flatyard.clouds.facts import Login
from flatyard.controller.launch import START_SECONDS, Start, from_everywhere
from flatyard.controller.places import Places
from flatyard.controller.runfile import look
from flatyard.engine import record as records
from flatyard.engine.record import ClusterRecord
from flatyard.store import open_store

POLL = 0.05


def fingerprint(login: Login, salt: str, environ: Mapping[str, str]) -> str:
    """What tells one set of credentials from another and nothing of them; empty where there are none."""
    parts = [*_variables(login, environ), *_contents(login, environ)]
    if not parts:
        return ""
    return hashlib.sha256("\0".join((salt, *parts)).encode()).hexdigest()


def _variables(login: Login, environ: Mapping[str, str]) -> Iterator[str]:
    for name in (*login.variables, *(file.variable for file in login.files), *login.paths):
        if environ.get(name):
            yield f"{name}={environ[name]}"


def _contents(login: Login, environ: Mapping[str, str]) -> Iterator[str]:
    home = environ.get("HOME", "")
    for file in login.files:
        usual = Path(home, file.at_home) if home and file.at_home else Path(os.devnull)
        path = Path(environ.get(file.variable) or usual)
        if path.is_file():
            yield f"{path}:{hashlib.sha256(path.read_bytes()).hexdigest()}"


async def renew(places: Places, environ: Mapping[str, str]) -> bool:
    """End the living process of a real cluster, so that the next one has these credentials; whether it was ended.

    It stays when it has the same ones, and when these do not lead to the cluster.
    """
    run, living = look(places.run)
    if not living or run is None or not run.real or not run.account:
        return False
    login = table.facts(run.twin).login
    mine = fingerprint(login, run.token, from_everywhere(login, environ, Path.cwd()))
    if mine in ("", run.account):
        return False
    record = await records.load(open_store(None, RealWorld()), places.name)
    if record is None or not await _leads_to(places, record):
        return False
    os.kill(run.pid, signal.SIGTERM)
    for _ in range(round(START_SECONDS / POLL)):
        if not look(places.run)[1]:
            return True
        await asyncio.sleep(POLL)
    return False


async def _leads_to(places: Places, record: ClusterRecord) -> bool:
    """Whether this environment's credentials may see the cluster's machines in its account."""
    try:
        cloud = table.connect(Start.decode(places.cluster.read_bytes()).cluster, RealWorld())
    except (FlatyardError, FileNotFoundError):
        return False
    try:
        if await cloud.owner() != record.owner:
            return False
        await cloud.machines(record.ref)
    except FlatyardError:
        return False
    finally:
        await cloud.close()
    return True
