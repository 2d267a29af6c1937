"""A stage for emulators: a network namespace with nothing but loopback, and environments of their own.

An emulator and the code that talks to it run in the same namespace: neither can reach anything else, and each stage
has every port and every address to itself. Root makes namespaces.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
CLONE_NEWNET = 0x40000000
STARTED = 180.0
"""Seconds in which an emulator answers on a busy machine."""


class Stage:
    """One namespace. `hosts` names addresses in it: commands there see it as /etc/hosts."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = f"fy-{name}-{os.getpid()}"
        self.folder = folder
        self.hosts = Path("/etc/netns", self.name, "hosts")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.hosts.parent.mkdir(parents=True)
        self.hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        subprocess.run(("ip", "netns", "add", self.name), check=True)
        subprocess.run(("ip", "-n", self.name, "link", "set", "lo", "up"), check=True)

    def own(self, network: str) -> None:
        """Every address of a network (`172.24.4.0/24`) is this stage's own."""
        command = ("ip", "-n", self.name, "route", "add", "local", network, "dev", "lo")
        subprocess.run(command, check=True)

    def start(
        self, name: str, command: list[str], *, port: int, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a server and wait until it takes connections on 127.0.0.1. What it says is in `folder/NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ("ip", "netns", "exec", self.name, *command),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
                cwd=self.folder,
            )
        self._processes.append(process)
        deadline = time.monotonic() + STARTED
        while not self.inside(lambda: answers(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} did not start\n{self.said(name)}")
            time.sleep(0.05)
        return process

    def said(self, name: str) -> str:
        """The end of a server's log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def command(
        self, *words: str, environment: Mapping[str, str] | None = None, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in the namespace, as a user types it."""
        return subprocess.run(
            ("ip", "netns", "exec", self.name, *words),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(environment or {})},
        )

    def run(self, main: Callable[[], Coroutine[object, object, T]]) -> T:
        """A coroutine whose sockets, threads and child processes are in the namespace."""
        return self.inside(lambda: asyncio.run(main()))

    def inside(self, call: Callable[[], T]) -> T:
        """A function, called in a thread that has entered the namespace: threads have namespaces of their own."""
        done: list[T] = []
        failed: list[BaseException] = []

        def body() -> None:
            try:
                enter(self.name)
                done.append(call())
            except BaseException as problem:
                failed.append(problem)

        thread = threading.Thread(target=body, name=f"in {self.name}")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    def close(self) -> None:
        """End every process in it, whoever started it, and remove the namespace."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        listed = subprocess.run(
            ("ip", "netns", "pids", self.name), capture_output=True, text=True, check=False
        )
        for pid in map(int, listed.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        subprocess.run(("ip", "netns", "delete", self.name), check=True)
        shutil.rmtree(self.hosts.parent)


def enter(name: str) -> None:
    """Put the calling thread into a named namespace (setns(2); os.setns is there from Python 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", name).open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")


def answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def environment(name: str) -> Path:
    """The folder of a virtual environment as tests/emulators/NAME/lock.txt pins it; made once, then everybody's."""
    lock = HERE / name / "lock.txt"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("FLATYARD_CACHE") or Path.home() / ".cache/flatyard") / "emulators"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{name}-{digest}"
    with (cache / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (made / "done").exists():
            shutil.rmtree(made, ignore_errors=True)
            install(lock, made)
            (made / "done").touch()
    return made


def install(lock: Path, target: Path) -> None:
    uv = str(Path(sys.executable).parent.parent / ".uv/bin/uv")
    env = runpy.run_path(str(ROOT / "tools/environment.py"))["environment"]()
    for words in (
        ("venv", "--python", sys.executable, str(target)),
        (
            "pip",
            "sync",
            "--python",
            str(target / "bin/python"),
            "--require-hashes",
            "--compile-bytecode",
            str(lock),
        ),
    ):
        done = subprocess.run((uv, "--quiet", *words), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
