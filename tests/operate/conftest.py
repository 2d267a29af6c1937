"""Stamps of a real `up` of one control plane and two workers, and of a machine that came later and still waits."""

from __future__ import annotations

import pytest

from flatyard.node.milestones import Milestone
from flatyard.operate.timing import Measured, Measurements

BOOT = (
    "ignition",
    "ignited",
    "merging",
    "merged",
    "containerd-starting",
    "containerd",
    "importing",
    "imported",
)


def stamp(seconds: float) -> str:
    """A stamp that is so many seconds after 16:00."""
    minute, rest = divmod(seconds, 60)
    return f"2026-11-21T16:{int(minute):02}:{rest:09.6f}Z"


def machine(name: str, role: str, asked: float, boot: list[float], **rest: float) -> Measured:
    milestones = dict(zip(BOOT, map(stamp, boot), strict=False)) | {k: stamp(v) for k, v in rest.items()}
    if "ignited" in milestones:
        milestones["power"] = milestones["ignited"]
    found = {Milestone(key): value for key, value in milestones.items()}
    return Measured(id=f"{name}-1", name=name, role=role, asked=stamp(asked), milestones=found)


@pytest.fixture
def measured() -> Measurements:
    boot = [11.633, 13.477, 17.157, 19.463, 19.985, 20.207, 20.209, 26.683]
    return Measurements(
        cluster="local",
        what="containers of a stand-in for Flatcar",
        simulated=False,
        stand_in=True,
        speed=1.0,
        now=stamp(240),
        started=stamp(0),
        supplied=stamp(8.3),
        machines=(
            machine(
                "local-control-plane-1", "control-plane", 9.4, boot,
                initialising=26.695, joined=50.061, registered=42, ready=45,
            ),
            machine(
                "general-54ougxmwqp-9l4wn", "worker", 9.424, [10.81, 12.507, 16.13, 18.177, 18.71, 19.571, 19.585],
                imported=26.682, waiting=26.688, joining=52.5, discovered=58.1, joined=60.072, registered=59, ready=60,
            ),
            machine(
                "general-54ougxmwqp-gclpx", "worker", 9.484, [11.07, 12.868, 16.651, 19.147, 19.58, 19.908, 19.944],
                imported=26.85, waiting=26.899, joining=52.4, discovered=57.2, joined=58.517, registered=58, ready=59,
            ),
            machine(
                "general-54ougxmwqp-zzzzz", "worker", 200.5, [202, 203, 205.2, 206.3, 207.8, 208.7, 208.71, 212.8],
                waiting=212.81,
            ),
        ),
    )  # fmt: skip
