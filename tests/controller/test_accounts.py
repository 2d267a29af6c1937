"""Whose credentials a background process has: compared without being told, and exchanged only for ones that work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.world import RealWorld
from flatyard.clouds import table
from flatyard.clouds.cloud import Rejected
from flatyard.controller import launch
from flatyard.controller.accounts import fingerprint, renew
from flatyard.controller.background import first_run
from flatyard.controller.documents import load
from flatyard.controller.launch import Start, from_everywhere
from flatyard.controller.places import Places, places_of
from flatyard.controller.runfile import hold, look
from flatyard.engine import record as records
from flatyard.store import open_store

ROOT = Path(__file__).resolve().parent.parent.parent
AWS, OPENSTACK = table.facts("aws").login, table.facts("openstack").login
KEY = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "hunter2"}


def test_other_variables_and_other_files_are_other_credentials(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert fingerprint(AWS, "salt", home) == ""
    found = [fingerprint(AWS, "salt", home | KEY), fingerprint(AWS, "pepper", home | KEY)]
    found.append(fingerprint(AWS, "salt", home | KEY | {"AWS_SESSION_TOKEN": "t"}))
    (tmp_path / ".aws").mkdir()
    for text in ("[default]", "[prod]"):
        (tmp_path / ".aws/credentials").write_text(text)
        found.append(fingerprint(AWS, "salt", home | KEY))
    assert len(set(found)) == len(found) and all(len(one) == 64 for one in found)
    assert fingerprint(AWS, "salt", home | KEY) == fingerprint(AWS, "salt", home | KEY | {"AWS_REGION": "x"})


def test_what_is_named_from_here_is_found_from_elsewhere(tmp_path):
    (tmp_path / "clouds.yaml").write_text("clouds: {}")
    given = {"OS_CACERT": "ca.pem", "SSL_CERT_FILE": "/etc/ca", "OTHER": "x"}
    assert from_everywhere(OPENSTACK, given, tmp_path) == {
        "OS_CACERT": str(tmp_path / "ca.pem"),
        "SSL_CERT_FILE": "/etc/ca",
        "OTHER": "x",
        "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml"),
    }
    mine = {"OS_CLIENT_CONFIG_FILE": "/etc/mine.yaml"}
    assert from_everywhere(OPENSTACK, mine, tmp_path) == mine
    home = {"AWS_CONFIG_FILE": "~/config"}
    assert from_everywhere(AWS, home, tmp_path) == home


HOLDER = """
import signal, sys
from flatyard.controller.runfile import hold
from pathlib import Path
held = hold(Path(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("held", flush=True)
signal.pause()
"""


class Account:
    """An adapter of which only this is asked."""

    def __init__(self, owner: str, *, sees: bool = True) -> None:
        self._owner, self._sees = owner, sees

    async def owner(self) -> str:
        return self._owner

    async def machines(self, ref):
        if not self._sees:
            raise Rejected("listing machines: ExpiredToken")
        return ()

    async def close(self) -> None:
        pass


@pytest.fixture
def living(tmp_path, monkeypatch) -> Places:
    """A cluster in account 111 with a living process that was started with KEY."""
    monkeypatch.setenv("FLATYARD_STATE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    places = places_of("web")
    start = Start(load([str(ROOT / "examples/aws.yaml")]).wanted.cluster, 1.0)

    async def remember() -> None:
        await launch.prepare(places, start)
        store = open_store(None, RealWorld())
        record = await records.create(store, RealWorld(), "web", "aws")
        await records.save(store, replace(record, owner="AWS account 111"))

    asyncio.run(remember())
    run = first_run("web", start, RealWorld())
    line = [sys.executable, "-c", HOLDER, str(places.run)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    held = hold(places.run)
    assert held is not None
    held.release()
    child = subprocess.Popen(line, stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    run = replace(run, pid=child.pid, account=fingerprint(AWS, run.token, KEY))
    places.run.write_bytes(run.encode())
    yield places
    child.kill()
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize(
    ("environ", "account", "ended"),
    [
        (KEY, Account("AWS account 111"), False),
        ({}, Account("AWS account 111"), False),
        (KEY | {"AWS_SESSION_TOKEN": "new"}, Account("AWS account 111"), True),
        (KEY | {"AWS_SESSION_TOKEN": "new"}, Account("AWS account 222"), False),
        (KEY | {"AWS_SESSION_TOKEN": "new"}, Account("AWS account 111", sees=False), False),
    ],
    ids=["the same", "none", "others that work", "another account", "others that do not work"],
)
def test_a_process_is_ended_only_for_credentials_that_lead_to_its_cluster(
    living, monkeypatch, environ, account, ended
):
    monkeypatch.setattr(table, "connect", lambda cluster, world: account)
    assert asyncio.run(renew(living, environ)) is ended
    assert look(living.run)[1] is not ended


def test_a_command_without_a_living_process_ends_none(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATYARD_STATE", str(tmp_path))
    assert asyncio.run(renew(places_of("web"), KEY)) is False
