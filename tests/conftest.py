"""Tiers: which tests run, in which order, how long each may take, and whether this machine can run them.

A test without a tier's marker is `fast`. `--tier` (from `./test --emulated` and its like) chooses; after a tier in
which something failed the next one does not start. With several processes each runs whole files of a tier, so that
what a file sets up is made once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# A property holds or does not, whatever else the machine is doing; what hangs is the watchdog's. Examples are the same
# in every run, so that a red run is about the change that it tests; tier `long` looks for new ones.
settings.register_profile("flatyard", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("flatyard")

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = "v1.34.3"
"""The version of the example files."""


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
    limit = config.getoption("--timeout")
    tiers = Tiers(config.getoption("--tier") or ["fast"], limit)
    if "long" in (config.getoption("--tier") or ()):
        settings.load_profile("search")
    config.pluginmanager.register(tiers, "tiers")
    handed_out = getattr(config, "workerinput", None)
    if handed_out is not None:
        config.pluginmanager.register(InStep(Path(handed_out["tiers"])), "in-step")
        config.pluginmanager.register(LeftOut(config.workeroutput), "left-out")
        return
    folder = tempfile.mkdtemp(prefix="tiers-")
    config.add_cleanup(lambda: shutil.rmtree(folder))
    is_alone = not config.getoption("numprocesses", None)
    config.pluginmanager.register(InStep(Path(folder)) if is_alone else HandingOut(folder), "in-step")
    config.pluginmanager.register(
        Outcome(demanding=config.getoption("--every-tier-runs")), "outcome-of-tiers"
    )


class Tiers:
    """Choose, order and watch the tiers of one run. `limit`: seconds for every test, instead of its tier's."""

    def __init__(self, chosen: Sequence[str], limit: float | None) -> None:
        self._chosen = chosen
        self._limit = limit

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        found: dict[str, list[pytest.Item]] = {name: [] for name in ORDER}
        for item in items:
            found[tier_of(item)].append(item)
        for of_tier in found.values():
            of_tier.sort(key=lambda item: item.get_closest_marker("slow") is None)
        config.hook.pytest_deselected(
            items=[i for name in ORDER if name not in self._chosen for i in found[name]]
        )
        items[:] = [
            item for name in ORDER if name in self._chosen for item in self._prepared(name, found[name])
        ]

    def _prepared(self, name: str, items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
        """The tier's items with their time limit, and skipped where the machine cannot run them."""
        reason = preflight(name) if items else None
        for item in items:
            item.user_properties.append(("tier", name))
            if self._limit is None and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIERS[name].seconds))
            if reason:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {reason}"))
            yield item


def tier_in(report: pytest.TestReport) -> str:
    """The tier of the test that a report is about; empty for what is about none."""
    return next((str(value) for name, value in report.user_properties if name == "tier"), "")


class InStep:
    """No test of a tier starts before all processes are done with the tiers before it, and none after a failure.

    `folder`: the same for all processes of a run. In it is a file for each tier, on which each process has a shared
    lock for as long as it may run something of that tier (the kernel releases it for one that dies), and another
    one for each tier in which something failed, or in which a process died.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = {name: (folder / name).open("w") for name in ORDER}
        for file in self._held.values():
            fcntl.flock(file, fcntl.LOCK_SH)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        earlier = ORDER[: ORDER.index(tier_of(item))]
        mine = [self._held.pop(name) for name in earlier if name in self._held]
        for file in mine:
            fcntl.flock(file, fcntl.LOCK_UN)
        for file in mine:
            fcntl.flock(file, fcntl.LOCK_EX)  # once nobody has it any more
            file.close()
        running = self._folder / f"{tier_of(item)}-failed-if-dead-{os.getpid()}"
        running.touch()
        result = yield
        running.unlink()
        return result

    def pytest_sessionfinish(self) -> None:
        for file in self._held.values():
            file.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        name = tier_of(item)
        for earlier in ORDER[: ORDER.index(name)]:
            if any(self._folder.glob(f"{earlier}-failed*")):
                pytest.skip(does_not_start(earlier, name))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            (self._folder / f"{tier_in(report)}-failed").touch()


def does_not_start(failed: str, later: str) -> str:
    """Why nothing of the later tier was run."""
    return f"tier {failed} failed, so {later} does not start"


class LeftOut:
    """Counts what was not chosen, for the process that sums up."""

    def __init__(self, output: dict[str, object]) -> None:
        self._output = output
        self._count = 0

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._count += len(items)
        self._output["deselected"] = self._count


class HandingOut:
    """What the process does that runs no tests itself but hands them out to others."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._left_out: list[SimpleNamespace] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        self._left_out = [SimpleNamespace()] * getattr(node, "workeroutput", {}).get("deselected", 0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left_out:
            terminalreporter.stats["deselected"] = self._left_out

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput["tiers"] = self._folder

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> FilesOfTiers:
        config.option.loadscopereorder = False
        return FilesOfTiers(config, log)


class FilesOfTiers(LoadScopeScheduling):
    """Whole files to each process, slow ones first; a file with tests of two tiers comes twice."""

    def schedule(self) -> None:
        collected = next(iter(self.registered_collections.values()))
        self._scopes: dict[str, str] = {}
        last, number = "", 0
        for nodeid in collected:
            file = nodeid.partition("::")[0]
            number += file != last
            self._scopes[nodeid] = f"{number} {file}"
            last = file
        super().schedule()

    def remove_node(self, node: WorkerController) -> str | None:
        """The test in which a process died is not run again; the rest of its file is, by another process."""
        units = self.assigned_work[node].values()
        died_in = next((nodeid for unit in units for nodeid, done in unit.items() if not done), None)
        for unit in units:
            unit.update({nodeid: True for nodeid in unit if nodeid == died_in})
        super().remove_node(node)
        return died_in

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]


class Outcome:
    """Says at the end which tier was kept from starting, and which one could run and of which nothing ran."""

    def __init__(self, *, demanding: bool) -> None:
        self._demanding = demanding
        self._seen = dict.fromkeys(ORDER, 0)
        self._ran = dict.fromkeys(ORDER, 0)
        self._failed: list[str] = []
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = tier_in(report)
        if name:
            self._seen[name] += 1
            self._ran[name] += report.when == "call" and not report.skipped
            if report.failed and name not in self._failed:
                self._failed.append(name)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        idle = [name for name in ORDER if self._seen[name] and not self._ran[name]]
        if self._failed:
            self._said = [does_not_start(self._failed[0], name) for name in idle]
        elif self._demanding:
            self._said = [
                f"tier {name} can run on this machine, but every test in it was skipped"
                for name in idle
                if preflight(name) is None
            ]
            if self._said:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._said:
            terminalreporter.write_line(line, red=True)


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


@pytest.fixture(scope="session")
def kubernetes_built() -> None:
    """What every cluster on this machine is made of. Minutes where nothing has been compiled yet, and every process
    of the run waits for them here rather than in a test whose subject is how soon something is told.
    """
    from flatyard.clouds.local.cloud import LocalCloud
    from flatyard.clouds.local.images import STAND_IN
    from flatyard.clouds.local.settings import architecture, settings
    from flatyard.controller.supplies import Supplies

    async def build() -> None:
        made = await LocalCloud(place).provisions(STAND_IN)
        await Supplies(place.cache / "local").ensure(KUBERNETES, architecture(), made.tree, print)

    place = settings()
    place.cache.mkdir(parents=True, exist_ok=True)
    with (place.cache / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(build())
