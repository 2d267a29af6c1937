"""What the local cloud works out before it touches this machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from flatyard.clouds.cloud import ImageQuery, Rejected
from flatyard.clouds.local import balancer, cgroups, evidence, folders, ignition_build, nspawn, stand_in
from flatyard.clouds.local.folders import (
    ClusterFolder,
    EndpointFile,
    MachineFile,
    MachineFolder,
    Phase,
    StateFile,
)
from flatyard.clouds.local.images import images
from flatyard.clouds.local.machines import _kubelet_keys, instance_id
from flatyard.clouds.local.networks import Taken, choose, free_address
from flatyard.clouds.local.overlay import KUBELET_PATCH, Surroundings, overlay
from flatyard.clouds.local.settings import LocalSettings, architecture, settings
from flatyard.ignition import config
from flatyard.ignition import file as ignition_file
from flatyard.ignition.dataurl import decode
from flatyard.ignition.encode import encode
from flatyard.ignition.parse import read
from flatyard.ignition.types import Config
from flatyard.model.cluster import Network
from flatyard.node import layout

PLACE = Surroundings(name="m1", address="10.1.0.10", cidr="10.1.0.0/24", gateway="10.1.0.1")
NETWORK = folders.NetworkFile(
    cluster_id="C",
    cluster_name="prod",
    bridge="fy",
    cidr="10.1.0.0/28",
    gateway="10.1.0.1",
    endpoint="10.1.0.2",
)


def taken(*ranges: str) -> list[Taken]:
    return [Taken(IPv4Network(text), f"owner of {text}") for text in ranges]


def file(config: Config, path: str) -> str:
    (entry,) = [entry for entry in config.storage.files if entry.path == path]
    assert entry.contents.source is not None
    return decode(entry.contents.source).decode()


# ---- addresses


def test_a_cluster_takes_the_first_range_that_nothing_overlaps() -> None:
    assert choose("10.123.0.0/16", Network(), taken("10.123.0.0/24", "10.123.1.128/25")) == "10.123.2.0/24"


def test_a_range_of_the_users_is_kept_or_refused_with_its_owner() -> None:
    given = Network(nodes="192.168.7.0/24")
    assert choose("10.123.0.0/16", given, []) == "192.168.7.0/24"
    with pytest.raises(Rejected, match=r"192\.168\.0\.0/16, owner of 192\.168\.0\.0/16"):
        choose("10.123.0.0/16", given, taken("192.168.0.0/16"))


def test_a_pool_without_room_names_who_has_it() -> None:
    with pytest.raises(Rejected, match=r"no free /24: 10\.0\.0\.0/8 belongs to owner of 10\.0\.0\.0/8"):
        choose("10.123.0.0/16", Network(), taken("10.0.0.0/8"))


def test_machines_get_the_lowest_free_address_until_there_is_none() -> None:
    assert free_address(NETWORK, ()) == "10.1.0.10"
    assert free_address(NETWORK, ("10.1.0.10", "10.1.0.12")) == "10.1.0.11"
    with pytest.raises(Rejected, match="no address left"):
        free_address(NETWORK, [f"10.1.0.{number}" for number in range(10, 15)])


def test_an_instance_id_is_a_host_name_and_differs_by_attempt() -> None:
    assert instance_id("01JGFJJZ00CCCCCCCCCCCCCC01", 2) == "01jgfjjz00cccccccccccccc01-2"
    assert len(instance_id("01JGFJJZ00CCCCCCCCCCCCCC01", 999)) <= 63


# ---- what a container needs besides


def test_the_overlay_is_a_config_that_ignition_takes() -> None:
    assert read(encode(overlay(PLACE))).is_valid


def test_no_file_of_the_overlay_hands_its_compression_on_to_a_users_file() -> None:
    assert {entry.contents.compression for entry in overlay(PLACE).storage.files} == {None}


def test_the_overlay_tells_a_machine_its_place() -> None:
    made = overlay(Surroundings(**{**_fields(PLACE), "endpoint": ("10.1.0.2", "api.prod.flatyard.internal")}))
    assert "Address=10.1.0.10/24\nGateway=10.1.0.1\n" in file(made, "/etc/systemd/network/10-host0.network")
    assert file(made, "/etc/hosts").endswith("10.1.0.10 m1\n10.1.0.2 api.prod.flatyard.internal\n")


def test_the_overlay_leaves_alone_what_the_user_data_sets_for_the_kubelet() -> None:
    made = overlay(
        Surroundings(**{**_fields(PLACE), "kubelet_keys": frozenset({"evictionHard"}), "swap": True})
    )
    assert json.loads(file(made, KUBELET_PATCH)) == {
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def test_containerd_is_told_of_oom_scores_only_where_root_is_bounded() -> None:
    assert "containerd.service" not in {unit.name for unit in overlay(PLACE).systemd.units}
    bounded = overlay(Surroundings(**{**_fields(PLACE), "may_raise": False}))
    assert "containerd.service" in {unit.name for unit in bounded.systemd.units}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (None, 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nrestrict_oom_score_adj = true\n'),
        (
            'version = 2\n  [plugins."io.containerd.grpc.v1.cri"]\nx = 1\n',
            'version = 2\n  [plugins."io.containerd.grpc.v1.cri"]\nrestrict_oom_score_adj = true\nx = 1\n',
        ),
    ],
)
def test_containerds_own_config_is_copied_and_completed(tmp_path: Path, given: str | None, made: str) -> None:
    script = file(
        overlay(Surroundings(**{**_fields(PLACE), "may_raise": False})), "/etc/flatyard/local/containerd"
    )
    script = script.replace("/etc/containerd/config.toml", f"{tmp_path}/given").replace(
        "/run/", f"{tmp_path}/"
    )
    if given is not None:
        (tmp_path / "given").write_text(given)
    subprocess.run(("sh", "-c", script), check=True)
    assert (tmp_path / "flatyard-local/containerd.toml").read_text() == made


def _fields(place: Surroundings) -> dict[str, object]:
    return {name: getattr(place, name) for name in Surroundings.__dataclass_fields__}


def test_kubelet_settings_of_the_user_data_are_found_compressed_too() -> None:
    patch = json.dumps(
        {"maxPods": 42, "evictionHard": {"memory.available": "5%"}, "featureGates": {"X": True}}
    )
    assert _kubelet_keys(config(files=[ignition_file(layout.KUBELET_PATCH, patch)])) == set(json.loads(patch))
    assert _kubelet_keys(config(files=[ignition_file(layout.KUBELET_PATCH, patch * 2)])) == frozenset()


# ---- control groups


def test_v1_trees_and_the_only_tree_of_v2_are_told_apart(tmp_path: Path) -> None:
    legacy = f"tmpfs {tmp_path} tmpfs rw\ncgroup {tmp_path}/pids cgroup rw\ncgroup2 {tmp_path}/unified cgroup2 rw\n"
    assert cgroups.hierarchies(legacy, tmp_path).trees == (tmp_path / "pids", tmp_path / "unified")
    assert not cgroups.hierarchies(legacy, tmp_path).unified
    assert cgroups.hierarchies(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n", tmp_path) == cgroups.Hierarchies(
        (tmp_path,), unified=True
    )


def test_on_v2_a_machine_runs_below_its_own_group_which_has_the_limits(tmp_path: Path) -> None:
    group = tmp_path / "flatyard/c/m-1"
    group.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "flatyard", tmp_path / "flatyard/c", group):
        (folder / "cgroup.controllers").write_text("cpu memory")
    for name in ("memory.max", "cpu.max"):
        (group / name).write_text("max")
    where = cgroups.Hierarchies((tmp_path,), unified=True)
    assert cgroups.make(where, "c", "m-1", 1, 512) == (group / "machine/cgroup.procs",)
    assert (group / "memory.max").read_text() == str(512 << 20)
    assert (tmp_path / "flatyard/cgroup.subtree_control").read_text() == "+cpu +memory"


def test_processes_and_machines_are_found_by_their_groups(tmp_path: Path) -> None:
    where = cgroups.Hierarchies((tmp_path / "a", tmp_path / "b"), unified=False)
    for tree, pids in (("a", "7\n"), ("b", "9\n7\n")):
        (tmp_path / tree / "flatyard/c/m-1/payload").mkdir(parents=True)
        (tmp_path / tree / "flatyard/c/m-1/payload/cgroup.procs").write_text(pids)
    assert cgroups.processes(where, "c", "m-1") == (7, 9)
    assert cgroups.instances(where, "c") == ("m-1",)
    assert cgroups.instances(where, "other") == ()


# ---- the container's command


def machine(**more: object) -> MachineFile:
    fields = dict.fromkeys(MachineFile.__dataclass_fields__, "")
    given = {**fields, "id": "m-1", "name": "m1", "bridge": "fy", "attempt": 1, "tags": {}, **more}
    return MachineFile(**given)  # type: ignore[arg-type]


def test_the_container_moves_to_its_groups_first_and_dies_with_its_supervisor(tmp_path: Path) -> None:
    made = nspawn.command(machine(), tmp_path, [tmp_path / "procs"], [], unified=False)
    assert made[4:8] == (str(tmp_path / "procs"), "--", "setpriv", "--pdeathsig=KILL")
    assert "--network-bridge=fy" in made and made[-2:] == nspawn.LEGACY
    assert nspawn.command(machine(), tmp_path, [], [], unified=True)[-1] != nspawn.LEGACY[-1]


# ---- files


def test_files_appear_whole_and_older_readers_pass_over_new_keys(tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path)
    assert folder.machine() is None and folder.state() == StateFile()
    folder.write_state(StateFile(phase=Phase.RUNNING, boots=2))
    text = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(text | {"later": 1}))
    assert folder.state() == StateFile(phase=Phase.RUNNING, boots=2)
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_lock_whose_file_went_is_taken_anew(tmp_path: Path) -> None:
    order: list[str] = []

    async def first() -> None:
        async with folders.held(tmp_path / "lock"):
            await asyncio.sleep(0.05)
            order.append("first")
            (tmp_path / "lock").unlink()

    async def second() -> None:
        async with folders.held(tmp_path / "lock"):
            order.append("second")
            assert (tmp_path / "lock").exists()

    async def main() -> None:
        await asyncio.gather(first(), second())

    asyncio.run(main())
    assert order == ["first", "second"]


def test_a_console_is_read_without_colours(tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path)
    folder.console.write_bytes(
        b"\x1b[!p\x1b]104\x07\x1b[?7h[\x1b[0;32m  OK  \x1b[0m] Started\x1b[0m.\r\nplain\n"
    )
    assert evidence.console(folder)[:2] == ("[  OK  ] Started.", "plain")


# ---- the stand-in


def test_the_archive_is_the_one_that_this_machine_uses() -> None:
    new = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
    old = "deb [signed-by=/x] https://old.example/debian bookworm main\n"
    security = "deb http://mirror.example/debian-security bookworm-security main\n"
    assert stand_in.mirror([security, new, old]) == "http://mirror.example/debian"
    assert stand_in.mirror([old]) == "https://old.example/debian"
    assert stand_in.mirror([security]) == ""


def test_the_stand_in_answers_for_its_own_version_and_architecture_only(tmp_path: Path) -> None:
    place, arch = LocalSettings(cache=tmp_path), architecture()
    (found,) = images(place, ImageQuery("stable", None, arch=arch))
    assert "stand-in" in found.name and found.version == stand_in.VERSION
    assert images(place, ImageQuery("stable", "4081.3.10", arch=arch)) == ()
    assert images(place, ImageQuery("stable", None, arch="sparc")) == ()
    assert images(place, ImageQuery("stable", None, arch=arch, kubernetes="v1.34.3")) == ()


def test_places_come_from_the_environment(tmp_path: Path) -> None:
    given = settings(
        {"FLATYARD_CACHE": str(tmp_path), "FLATYARD_LOCAL_NAT": "1", "FLATYARD_LOCAL_POOL": "10.9.0.0/16"}
    )
    assert (given.cache, given.nat, given.pool) == (tmp_path, True, "10.9.0.0/16")
    assert not settings({}).nat
    assert stand_in.place(tmp_path).is_relative_to(tmp_path)
    assert not ignition_build.is_there(tmp_path)


# ---- the balancer


def test_connections_go_to_a_backend_that_takes_them_and_follow_the_file(tmp_path: Path) -> None:
    async def say(word: bytes) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(word + await reader.readline())
            await writer.drain()
            writer.close()

        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"question\n")
        try:
            return await reader.read()
        finally:
            writer.close()

    async def main() -> None:
        server = await say(b"answer to ")
        free = await say(b"")
        port = free.sockets[0].getsockname()[1]
        free.close()
        await free.wait_closed()
        folder = ClusterFolder(tmp_path)
        target = server.sockets[0].getsockname()[1]
        endpoint = EndpointFile(
            host="api", address="127.0.0.1", port=port, backends={"gone": "127.0.0.2", "here": "127.0.0.1"},
            backend_port=target,
        )  # fmt: skip
        folder.write_endpoint(endpoint)
        running = asyncio.ensure_future(balancer.Balancer(folder).run())
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await ask(port) == b"answer to question\n"
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            folder.write_endpoint(
                EndpointFile(host="api", address="127.0.0.1", port=port, backend_port=target)
            )
            with pytest.raises(ConnectionResetError):
                await ask(port)
            (tmp_path / "endpoint.json").unlink()
            await running
        server.close()

    asyncio.run(main())
