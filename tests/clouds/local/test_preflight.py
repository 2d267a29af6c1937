"""What the local cloud says before it makes anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Severity
from flatyard.clouds.local import preflight, rootfs, stand_in
from flatyard.clouds.local.folders import ClusterFolder, NetworkFile
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


def room(place: LocalSettings, wanted: model.Cluster) -> list[str]:
    """What is said of the room that machines take."""
    told = [p.what for p in preflight.problems(place, wanted)]
    return [text.partition(" below")[0] for text in told if "machine" in text and "about" in text]


def test_machines_that_are_there_have_their_room(
    place: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file again was refused on a disk that was nearly full of its own machines."""
    monkeypatch.setattr(rootfs, "size", lambda path: preflight.DISK)
    monkeypatch.setattr(preflight, "is_root", lambda: True)
    three = cluster(workers=(model.WorkerPool(name="general", replicas=2),))
    assert room(place, three) == ["3 machines take about 6 GiB"]
    folder = ClusterFolder(place.home / "01jgfjjz01")
    for name in ("a-1", "b-1"):
        (folder.path / name).mkdir(parents=True)
    ours = {"cluster_id": "01JGFJJZ01", "cluster_name": "prod", "bridge": "fy0"}
    addresses = {"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "endpoint": "10.0.0.2"}
    folder.write_network(NetworkFile(**ours, **addresses))
    assert room(place, three) == []


def test_an_image_that_is_no_tree_is_refused(place: LocalSettings, tmp_path: Path) -> None:
    wrong = replace(place, image=str(tmp_path))
    assert any("is no root tree" in p.what for p in preflight.problems(wrong, cluster()))
