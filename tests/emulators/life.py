"""The life of a cloud's example file as commands against its emulator, from `plan` to `down`.

Simulated machines boot from the user data that the emulator returns (room.py). At the end the emulator itself is asked
what is left. Each cloud's lives are a file of tests of their own, since they take minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulators.stage import Stage
from flatyard.controller.runfile import look
from flatyard.engine.labels import ATTEMPT

BAKED = {"azure": "-capi-v1.34.3", "aws": "capa-ami-flatcar-stable-v1.34.3-"}
"""What names of images with Kubernetes in them have."""
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True, slots=True)
class Example:
    """One cloud: its file, what is in it, and how its emulator starts."""

    cloud: str
    file: str
    name: str
    place: str
    """As sentences call it."""
    planes: int
    workers: int
    pool: str
    start: Callable[[Stage, ExitStack], Mapping[str, str]]
    """Starts the emulator and says what ends it; returns the environment in which its account is found."""
    account: tuple[tuple[str, str], ...] = ()
    """What the file says of its account, and the emulator's in its place."""
    flavor: str = "sysext"
    looks: tuple[Callable[[Life], None], ...] = ()
    """What else is true of this cloud's living cluster."""
    killed: str = ""
    """The command during which it and its process are killed, besides `up`."""

    @property
    def key(self) -> str:
        """One of a kind, short enough for a namespace's name."""
        return self.cloud if self.flavor == "sysext" else f"{self.cloud}-{self.flavor}"


@dataclass(slots=True)
class Life:
    """One example's cluster on a stage."""

    example: Example
    stage: Stage
    state: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The example as it is, but for the account."""
        made = self.state.parent / self.example.file
        text = (ROOT / "examples" / self.example.file).read_text()
        for theirs, ours in self.example.account:
            assert theirs in text
            text = text.replace(theirs, ours)
        made.write_text(text)
        return made

    def flatyard(self, *words: str, code: int = 0) -> str:
        """A command; what it printed on stdout."""
        watch = ("--timeout", "240s") if words[0] in ("up", "scale", "restart", "down") else ()
        line = (sys.executable, "-m", "flatyard", *words, *watch)
        done = self.stage.command(*line, environment=self.environment)
        assert done.returncode == code, self.told(f"{words} ended with {done.returncode}", done)
        return done.stdout

    def told(self, what: str, done: subprocess.CompletedProcess[str]) -> str:
        log = self.state / "sim" / self.example.name / "log"
        said = log.read_text()[-4000:] if log.exists() else ""
        room = self.stage.said("room")
        consoles = [f"--- {path.name}\n{path.read_text()[-1500:]}" for path in self._consoles()]
        parts = (what, done.stdout, done.stderr[-6000:], "--- process", said, "--- room", room, *consoles)
        return "\n".join(parts)

    def _consoles(self) -> list[Path]:
        """Of machines that are no nodes, the first few."""
        found = sorted(self.state.parent.glob("*.console"))
        return [path for path in found if "This node has joined" not in path.read_text()][:3]

    def status(self, code: int = 0) -> Any:
        return json.loads(self.flatyard("status", self.example.name, "-o", "json", code=code))

    def is_healthy(self) -> bool:
        line = (sys.executable, "-m", "flatyard", "status", self.example.name)
        return self.stage.command(*line, environment=self.environment).returncode == 0

    def files(self) -> dict[str, dict[str, tuple[int, str]]]:
        """By machine what its disk has, with its mode, of the paths that ROOM_SHOWS names."""
        found = sorted(self.state.parent.glob("*.files"))
        return {path.stem: json.loads(path.read_text()) for path in found}

    def inventory(self) -> dict[str, list[str]]:
        """What the emulator holds, asked of it with the cloud's own SDK."""
        module = f"emulators.window_{self.example.cloud}"
        done = self.stage.command(sys.executable, "-m", module, environment=self.environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, list[str]] = json.loads(done.stdout)
        return found

    def pid(self) -> int:
        run, living = look(self.state / "run" / f"{self.example.name}.json")
        return run.pid if living and run is not None else 0


def lives_and_leaves_nothing(life: Life) -> None:
    """The whole life in one: each step needs the one before."""
    example, file = life.example, str(life.file)
    before = life.inventory()
    plan = life.flatyard("plan", file, code=4)
    assert f"new cluster {example.name} on {example.place}" in plan
    assert life.inventory() == before
    if example.flavor == "sysext":
        _killed(life, "up", "--yes", file, when=lambda there: bool(there["instances"]))
    up = life.flatyard("up", "--yes", file)
    done = (
        f"Cluster {example.name} is ready ({example.place}).",
        f"Cluster {example.name} matches the files.",
    )
    assert any(words in up for words in done) and "simulated" not in up
    found = life.status()
    assert found["healthy"] and found["api"] and not found["simulated"]
    assert len(found["control_plane"]["machines"]) == example.planes
    assert sum(len(pool["machines"]) for pool in found["pools"]) == example.workers
    assert example.place in life.flatyard("status", example.name)
    assert json.loads(life.flatyard("plan", "-o", "json", file))["comparedWith"] == "the cluster itself"
    for also in example.looks:
        also(life)
    if example.flavor == "sysext":  # what is asked of a living cluster is the same for every flavor
        _scaled(life)
        _restarted(life)
        _told(life)
        if example.planes > 1:
            _lost(life)
    down = ("down", "--yes", example.name)
    if example.killed == "down":
        all_there = life.inventory()["instances"]
        _killed(life, *down, when=lambda there: len(there["instances"]) < len(all_there))
        assert life.inventory() != before
    assert f"Cluster {example.name} is gone: 0 resources are left" in life.flatyard(*down)
    assert life.inventory() == before
    assert not life.pid()


def _killed(life: Life, *words: str, when: Callable[[dict[str, list[str]]], bool]) -> None:
    """A command is killed with its background process when the cloud holds what `when` waits for."""
    line = ("ip", "netns", "exec", life.stage.name, sys.executable, "-m", "flatyard", *words)
    said = life.state.parent / f"killed-{words[0]}"
    with said.open("w") as file:
        command = subprocess.Popen(line, env={**os.environ, **life.environment}, stdout=file, stderr=file)
    deadline = time.monotonic() + 300
    while not when(life.inventory()):
        assert command.poll() is None and time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    pid = life.pid()
    assert pid, said.read_text()
    command.kill()
    os.kill(pid, signal.SIGKILL)
    command.wait(60)


def _restarted(life: Life) -> None:
    """A worker, by the cloud's own restart: its node has another boot afterwards, and the same machine."""
    name = life.example.name
    pool = next(pool for pool in life.status()["pools"] if pool["machines"])
    machine = pool["machines"][0]["name"]
    found = json.loads(life.flatyard("restart", name, machine, "-o", "json"))
    assert not found["simulated"] and found["machines"][0]["restarted"]
    assert life.status()["healthy"]


def _lost(life: Life) -> None:
    """Somebody deletes a control plane's instance: the same machine gets another one, and joins again."""
    before = _planes(life)
    name, (attempt, gone) = min(before.items())
    window = ("-m", f"emulators.window_{life.example.cloud}", "end", gone)
    ended = life.stage.command(sys.executable, *window, environment=life.environment)
    assert ended.returncode == 0, ended.stderr
    deadline = time.monotonic() + 240
    while not ((now := _planes(life))[name][0] > attempt and now[name][1] and life.is_healthy()):
        assert time.monotonic() < deadline, life.flatyard("get", "events", life.example.name)
        time.sleep(3)
    assert {**now, name: before[name]} == before


def _planes(life: Life) -> dict[str, tuple[int, str]]:
    """By Machine of the control plane the number of its attempt, and its instance as its providerID."""
    machines = json.loads(life.flatyard("get", "machines", life.example.name, "-o", "json"))["items"]
    return {
        machine["metadata"]["name"]: (
            int(machine["metadata"]["annotations"].get(ATTEMPT, 1)),
            machine["spec"].get("providerID", ""),
        )
        for machine in machines
        if "-control-plane-" in machine["metadata"]["name"]
    }


def _told(life: Life) -> None:
    """What else can be asked of it."""
    name = life.example.name
    path = Path(life.flatyard("kubeconfig", name).strip())
    assert life.status()["server"] in path.read_text()
    assert len(life.flatyard("get", "machines", name).splitlines()) > 1
    assert life.flatyard("get", "resources", name, "-o", "name").splitlines()
    timing = json.loads(life.flatyard("timing", name, "-o", "json"))
    assert not timing["simulated"] and timing["machines"]


def _scaled(life: Life) -> None:
    example, before = life.example, len(life.inventory()["instances"])
    old = next(len(p["machines"]) for p in life.status()["pools"] if p["name"] == example.pool)
    more = ("scale", example.name, f"{example.pool}=3")
    if example.killed == "scale":
        _killed(life, *more, when=lambda there: len(there["instances"]) > before)
    said = life.flatyard(*more)
    assert f"Cluster {example.name} has {example.pool}=3." in said
    pool = next(p for p in life.status()["pools"] if p["name"] == example.pool)
    assert pool["ready"] == 3
    assert len(life.inventory()["instances"]) == before + 3 - old
    life.flatyard("scale", example.name, f"{example.pool}=1")
    assert next(p for p in life.status()["pools"] if p["name"] == example.pool)["ready"] == 1


def kubernetes_is_baked_in(life: Life) -> None:
    """Machines come from the newest image with Kubernetes that is listed, and fetch no extension."""
    where = ("--cloud", life.example.cloud, "--region", life.example.place.split()[1])
    asked = ("images", "list", *where, "--kubernetes", "v1.34.3", "--arch", "amd64", "-o", "json")
    newest = next(row for row in json.loads(life.flatyard(*asked))["images"] if row["newest"])
    assert BAKED[life.example.cloud] in newest["name"]
    machines = json.loads(life.flatyard("get", "machines", life.example.name, "-o", "json"))["items"]
    assert {machine["status"]["versions"]["kubelet"] for machine in machines} == {"v1.34.3"}
    for path in life.state.parent.glob("*.console"):
        said = path.read_text()
        assert f"Linux version {newest['version']}" in said and ".raw" not in said
