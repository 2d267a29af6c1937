"""Tiers: which tests run, in which order, how long each may take, and whether this machine can run them.

A test without a tier's marker is `fast`. `--tier` (from `./test --emulated` and its like) chooses; the run stops
at the end of a tier in which something failed.
"""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# A property holds or does not, whatever else the machine is doing; what hangs is the watchdog's. Examples are the same
# in every run, so that a red run is about the change that it tests; tier `long` looks for new ones.
settings.register_profile("flatyard", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("flatyard")

ROOT = Path(__file__).resolve().parent.parent


def can_always() -> str | None:
    """The preflight of tiers that need nothing but the environment."""
    return None


def can_reach_packages() -> str | None:
    """Why no package can be had here (neither from a registry nor from files), or None."""
    uv = Path(sys.executable).parent.parent / ".uv/bin/uv"
    if not uv.exists():
        return f"no {uv}; ./test makes it"
    command = [str(uv), "pip", "compile", "--quiet", "--no-cache", "--no-header", "-"]
    environment = runpy.run_path(str(ROOT / "tools/environment.py"))["environment"]()
    done = subprocess.run(
        command, input="uv", text=True, capture_output=True, env=environment, cwd=ROOT, check=False
    )
    return None if done.returncode == 0 else "no package registry answers"


def can_start_machines() -> str | None:
    """Why no real machine can be started here, or None; what is missing is installed."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("go") is None:
        return "needs Go, which compiles the machines' programs"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/packages.py"), "real"], capture_output=True, text=True, check=False
    )
    said = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else f"cannot install Debian packages: {' '.join(said[-1:])}"


@dataclass(frozen=True, slots=True)
class Tier:
    """`seconds`: how long one test may take. `preflight`: why this machine cannot run the tier, or None."""

    name: str
    seconds: int
    preflight: Callable[[], str | None]


TIERS = {
    tier.name: tier
    for tier in (
        Tier("fast", 120, can_always),
        Tier("emulated", 900, can_reach_packages),
        Tier("real", 1800, can_start_machines),
        Tier("long", 3600, can_always),
    )
}
ORDER = tuple(TIERS)


@cache
def preflight(name: str) -> str | None:
    """Why this machine cannot run the tier, or None; asked once in a run."""
    return TIERS[name].preflight()


def tier_of(item: pytest.Item) -> str:
    """The last, most demanding tier that the item is marked with."""
    return next((name for name in reversed(ORDER) if item.get_closest_marker(name)), "fast")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tiers")
    group.addoption("--tier", action="append", choices=ORDER, help="run this tier; default: fast")
    group.addoption(
        "--fuzz-seconds",
        type=int,
        default=0,
        help="guided fuzzing for so long in all, in the fast tier (tests/fuzz); default: only its corpus",
    )
    group.addoption(
        "--every-tier-runs",
        action="store_true",
        help="fail when a tier has tests, its preflight says that it can run, and none of them ran",
    )


def pytest_configure(config: pytest.Config) -> None:
    tiers = Tiers(config.getoption("--tier") or ["fast"], config.getoption("--timeout"))
    if "long" in (config.getoption("--tier") or ()):
        settings.load_profile("search")
    config.pluginmanager.register(tiers, "tiers")


class Tiers:
    """Choose, order and watch the tiers of one run. `limit`: seconds for every test, instead of its tier's."""

    def __init__(self, chosen: Sequence[str], limit: float | None) -> None:
        self._chosen = chosen
        self._limit = limit
        self._ran = dict.fromkeys(ORDER, 0)
        self._failed = dict.fromkeys(ORDER, False)
        self._tiers: dict[str, str] = {}

    def ran(self, tier: str) -> int:
        """How many tests of the tier were executed, skipped ones not counted."""
        return self._ran[tier]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        found: dict[str, list[pytest.Item]] = {name: [] for name in ORDER}
        for item in items:
            found[tier_of(item)].append(item)
        config.hook.pytest_deselected(
            items=[i for name in ORDER if name not in self._chosen for i in found[name]]
        )
        items[:] = [
            item for name in ORDER if name in self._chosen for item in self._prepared(name, found[name])
        ]
        if config.getoption("--every-tier-runs"):
            self._demand(session, items)

    def _prepared(self, name: str, items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
        """The tier's items with their time limit, and skipped where the machine cannot run them."""
        reason = preflight(name) if items else None
        for item in items:
            self._tiers[item.nodeid] = name
            if self._limit is None and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIERS[name].seconds))
            if reason:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {reason}"))
            yield item

    def _demand(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """After each tier that can run, one more item that fails if none of the tier's tests did."""
        for name in ORDER:
            own = [item for item in items if self._tiers.get(item.nodeid) == name]
            if own and preflight(name) is None:
                demand = TierRan.from_parent(session, name=f"tier-{name}-ran", tiers=self, tier=name)
                self._tiers[demand.nodeid] = name
                items.insert(items.index(own[-1]) + 1, demand)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = self._tiers.get(report.nodeid)
        if name:
            self._ran[name] += report.when == "call" and not report.skipped
            self._failed[name] |= report.failed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        result = yield
        name = self._tiers[item.nodeid]
        if nextitem is not None and self._tiers[nextitem.nodeid] != name and self._failed[name]:
            item.session.shouldfail = f"tier {name} failed, so {self._tiers[nextitem.nodeid]} does not start"
        return result


class TierRan(pytest.Item):
    """Not a test of the code but of the run: the tier executed something."""

    def __init__(self, *, tiers: Tiers, tier: str, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self._tiers, self._tier = tiers, tier

    def runtest(self) -> None:
        if not self._tiers.ran(self._tier):
            pytest.fail(
                f"tier {self._tier} can run on this machine, but every test in it was skipped", pytrace=False
            )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return ROOT / "tests", None, self.name


MEASURED = 0.5
"""Seconds of processor time of each test in which coverage is measured.

What takes longer does the same many times over, at a third of its speed while it is measured. What is reached later
only, in no other test either, is shown as not reached.
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    tracer = sys.gettrace()
    if not type(tracer).__module__.startswith("coverage"):
        return (yield)
    before = signal.signal(signal.SIGVTALRM, lambda number, frame: sys.settrace(None))
    signal.setitimer(signal.ITIMER_VIRTUAL, MEASURED)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def kubectl_path() -> str:
    """A real kubectl: the one on PATH, else one that is built; a machine that has neither it nor Go fails the test."""
    command = [sys.executable, str(ROOT / "tools/kubectl.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def mksquashfs() -> str:
    """The real one, installed where it is missing; a machine that cannot have it fails the test."""
    if shutil.which("mksquashfs") is None:
        command = [sys.executable, str(ROOT / "tools/packages.py"), "emulated"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = shutil.which("mksquashfs")
    assert found
    return found
