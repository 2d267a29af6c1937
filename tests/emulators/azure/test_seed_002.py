"""Seed 002, a talk's twelve steps on Azure, is one `up`: location, terms, group, machine, address, and the kubelet that
"does not sucessfully start up" there. Simulated machines boot from the user data that the emulator hands out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulators.azure.place import Arm, start
from emulators.room import FEED, FEED_PORT
from emulators.stage import Stage

pytestmark = [pytest.mark.emulated, pytest.mark.timeout(600)]
HERE = Path(__file__).resolve().parent
CLUSTER = HERE / "seed_002/cluster.yaml"
CONSENT = "    flatyard.dev/azure-accept-terms: kinvolk:flatcar-container-linux-free:stable-gen2\n"


@dataclass(frozen=True)
class Talk:
    """A user's terminal beside the emulator."""

    stage: Stage
    arm: Arm
    folder: Path

    def flatyard(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **self.arm.environment,
            "FLATYARD_STATE": str(self.folder / "state"),
            "FLATYARD_FEED": FEED,
            "PYTHONPATH": str(HERE.parent.parent),
        }
        return self.stage.command(sys.executable, "-m", "flatyard", *words, environment=environment)

    def file(self, text: str) -> str:
        made = self.folder / "cluster.yaml"
        made.write_text(text)
        return str(made)

    def resources(self) -> list[str]:
        return [str(row["id"]) for row in self.stage.inside(self.arm.resources)]


@pytest.fixture(scope="module")
def talk(new_stage: Callable[[str], Stage], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    stage, folder = new_stage("seed-002"), tmp_path_factory.mktemp("seed-002")
    try:
        arm = start(stage, blobs=True)
        room = [sys.executable, "-m", "emulators.room", "emulators.window_azure", str(folder)]
        environment = {**arm.environment, "PYTHONPATH": str(HERE.parent.parent), "ROOM_SPEED": "60"}
        stage.start("room", room, port=FEED_PORT, environment=environment)
        yield Talk(stage, arm, folder)
    finally:
        stage.close()


def test_a_location_that_is_not_is_told_with_those_that_are_near(talk: Talk) -> None:
    said = talk.flatyard(
        "plan", talk.file(CLUSTER.read_text().replace("germanywestcentral", "germanywestcentra"))
    )
    told = said.stdout + said.stderr
    assert said.returncode == 2, told
    assert "no location 'germanywestcentra'" in told and "did you mean 'germanywestcentral'" in told
    assert "germanynorth" in told and talk.resources() == []


def test_terms_are_shown_and_not_accepted_without_consent(talk: Talk) -> None:
    said = talk.flatyard("up", "--yes", talk.file(CLUSTER.read_text().replace(CONSENT, "    a: b\n")))
    told = said.stdout + said.stderr
    assert said.returncode == 2, told
    assert "nobody has accepted the terms of kinvolk:flatcar-container-linux-free:stable-gen2" in told
    assert "az vm image terms accept --publisher kinvolk" in told and talk.resources() == []


def test_all_of_it_is_one_up(talk: Talk) -> None:
    up = talk.flatyard("up", "--yes", "--timeout", "200s", talk.file(CLUSTER.read_text()))
    assert up.returncode == 0, up.stdout + up.stderr + talk.stage.said("room")
    found = json.loads(talk.flatyard("status", "demo", "-o", "json").stdout)
    assert found["healthy"] and len(found["control_plane"]["machines"]) == 1
    machines = [one for one in talk.resources() if "/virtualMachines/" in one]
    addresses = [one for one in talk.resources() if "/publicIPAddresses/" in one and one.endswith("-nic-ip")]
    assert len(machines) == len(addresses) == 2
    down = talk.flatyard("down", "--yes", "demo")
    assert down.returncode == 0 and talk.resources() == [], down.stdout + down.stderr
