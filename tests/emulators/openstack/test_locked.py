"""SQLite below the services: a transaction that reads first and writes then is not refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emulators.openstack.services import HERE
from emulators.stage import environment

pytestmark = pytest.mark.emulated
PROGRAM = """
import sys, threading, sqlite3
if sys.argv[2] == "locked":
    import locked
from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import text

path = sys.argv[1]
made = "PRAGMA journal_mode=WAL; CREATE TABLE seen (n INTEGER); INSERT INTO seen VALUES (0)"
sqlite3.connect(path).executescript(made)
manager = enginefacade.transaction_context()
manager.configure(connection=f"sqlite:///{path}?timeout=20")

@enginefacade.transaction_context_provider
class Context: pass

def add():
    for _ in range(20):
        with manager.writer.using(Context()) as session:
            n = session.execute(text("SELECT n FROM seen")).scalar()
            session.execute(text("UPDATE seen SET n = :n"), {"n": n + 1})

def note(why):
    print(str(why.exc_value).splitlines()[0])

threading.excepthook = note
threads = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in threads]
with manager.reader.using(Context()) as session:  # is not in the way of those who write
    session.execute(text("SELECT n FROM seen")).scalar()
    [t.join() for t in threads]
with manager.reader.using(Context()) as session:
    print(session.execute(text("SELECT n FROM seen")).scalar())
"""


def run(folder: Path, how: str) -> str:
    words = (str(environment("openstack") / "bin/python"), "-c", PROGRAM, str(folder / "some.db"), how)
    done = subprocess.run(words, env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_servers_that_are_made_at_once_lose_no_message_to_the_database(tmp_path: Path) -> None:
    assert run(tmp_path, "locked") == "160\n"


def test_without_it_sqlite_refuses_whoever_reads_before_it_writes(tmp_path: Path) -> None:
    assert "database is locked" in run(tmp_path, "as it comes")
