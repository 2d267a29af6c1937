"""What the local cloud says before it makes anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Severity
from flatyard.clouds.local import preflight, stand_in
from flatyard.clouds.local.settings import LocalSettings
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine
from flatyard.model.meta import ObjectMeta


def cluster(**spec: object) -> model.Cluster:
    given = {"cloud": model.CloudChoice(local=model.LocalCloud()), **spec}
    return model.Cluster(metadata=ObjectMeta(name="prod"), spec=model.ClusterSpec(**given))  # type: ignore[arg-type]


def said(place: LocalSettings, wanted: model.Cluster) -> dict[str, str]:
    return {problem.path: problem.what for problem in preflight.problems(place, wanted)}


@pytest.fixture
def place(tmp_path: Path) -> LocalSettings:
    return LocalSettings(home=tmp_path / "home", cache=tmp_path / "cache")


def test_what_is_missing_is_named_with_the_one_command_that_installs_it(
    place: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"ip", "nsenter", "setpriv", "useradd", "apt-get", "go"}
    monkeypatch.setattr(shutil, "which", lambda tool: tool if tool in there else None)
    told = [problem.what for problem in preflight.problems(place, cluster())]
    assert (
        "there is no systemd-nspawn, mmdebstrap, gcc; sudo apt-get install --no-install-recommends "
        "systemd-container mmdebstrap gcc libc6-dev libblkid-dev" in told
    )


def test_root_is_asked_for_plainly(place: LocalSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "is_root", lambda: False)
    assert any("run the same command with sudo" in p.what for p in preflight.problems(place, cluster()))


def test_another_release_than_the_stand_ins_is_refused_with_what_there_is(place: LocalSettings) -> None:
    told = said(place, cluster(flatcar=model.Flatcar(version="4081.3.10")))
    assert "only a stand-in for Flatcar" in told["spec.flatcar.version"]
    assert "spec.flatcar.version" not in said(place, cluster(flatcar=model.Flatcar(version=stand_in.VERSION)))


def test_an_endpoint_of_another_kind_is_refused(place: LocalSettings) -> None:
    wanted = cluster(endpoint=model.Endpoint(kind="vip", address="10.0.0.9"))
    assert "load balancer on its bridge, not vip" in said(place, wanted)["spec.endpoint.kind"]


def test_machines_that_this_one_cannot_feed_are_told(place: LocalSettings) -> None:
    giant = model.WorkerPool(name="general", replicas=1, machine=LocalMachine(memory_mb=1 << 30))
    found = [p for p in preflight.problems(place, cluster(workers=(giant,))) if "MB together" in p.what]
    assert [problem.severity for problem in found] == [Severity.WARNING]


def test_more_machines_than_the_disk_holds_are_refused(place: LocalSettings) -> None:
    many = model.WorkerPool(name="general", replicas=100_000)
    assert any("GiB are free" in p.what for p in preflight.problems(place, cluster(workers=(many,))))


def test_an_image_that_is_no_tree_is_refused(place: LocalSettings, tmp_path: Path) -> None:
    wrong = replace(place, image=str(tmp_path))
    assert any("is no root tree" in p.what for p in preflight.problems(wrong, cluster()))
