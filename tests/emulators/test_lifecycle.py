"""`up`, `scale`, `status` and `down` of each cloud's example file, as commands against its emulator.

Simulated machines boot from the user data that the emulator returns (room.py). At the end the emulator itself is asked
what is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emulators.room import FEED, FEED_PORT
from emulators.stage import Stage, environment
from flatyard.controller.runfile import look

pytestmark = [pytest.mark.emulated, pytest.mark.timeout(900)]
AZURE_JSON = "/etc/kubernetes/azure.json"
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


def azure_json_names_what_there_is(life: Life) -> None:
    """Every machine has the file of Azure's own controllers, and what it names is there."""
    files, there = life.files(), [one.lower() for one in life.inventory()["resources"]]
    machines = {id.rpartition("/")[2] for id in life.inventory()["instances"]}
    assert machines <= set(files)
    ((mode, text),) = {tuple(files[name][AZURE_JSON]) for name in machines}
    assert mode == 0o600
    said = json.loads(text)
    subscription = f"/subscriptions/{life.environment['AZURE_SUBSCRIPTION_ID']}"
    assert (said["subscriptionId"], said["tenantId"]) == (
        life.environment["AZURE_SUBSCRIPTION_ID"],
        life.environment["AZURE_TENANT_ID"],
    )
    assert said["location"] == life.example.place.split()[1]
    for group, kind, name in (
        (said["vnetResourceGroup"], "virtualNetworks", said["vnetName"]),
        (said["securityGroupResourceGroup"], "networkSecurityGroups", said["securityGroupName"]),
    ):
        wanted = f"{subscription}/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}"
        assert wanted.lower() in there
    assert said["resourceGroup"] == life.example.name and said["subnetName"] == "worker"


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


def workers_are_spread(life: Life) -> None:
    """A pool that names no zone has its machines in different ones, by the cloud's own word."""
    machines = json.loads(life.flatyard("get", "machines", life.example.name, "-o", "json"))["items"]
    ids = [m["spec"]["providerID"] for m in machines if m["metadata"]["name"].startswith(life.example.pool)]
    zones = {id.removeprefix("aws:///").partition("/")[0] for id in ids}
    assert len(zones) == len(ids) == life.example.workers, ids


def start_aws(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    python = environment("aws") / "bin/python"
    stage.start(
        "aws", [str(python), str(HERE / "aws/server.py"), "5111", str(HERE / "aws/amis.json")], port=5111
    )
    return {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5111",
        "AWS_ACCESS_KEY_ID": "AKIAEMULATOR",
        "AWS_SECRET_ACCESS_KEY": "emulated-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def start_aws_with_images(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    """An account with images of its own, as image-builder names and tags them."""
    environment = start_aws(stage, end)
    for number, (kubernetes, release) in enumerate(
        (("v1.34.3", "4230.2.2"), ("v1.34.3", "4459.2.1"), ("v1.33.1", "4593.2.0"))
    ):
        name = f"capa-ami-flatcar-stable-{kubernetes}-{1712345678 + number}"
        tags = {"kubernetes_version": kubernetes, "distribution_version": release}
        line = (sys.executable, "-m", "emulators.window_aws", "bake", name, json.dumps(tags))
        done = stage.command(*line, environment={"PYTHONPATH": str(HERE.parent), **environment})
        assert done.returncode == 0, done.stderr
    return environment


def start_azure(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    from emulators.azure.place import start

    arm = start(stage, blobs=True)
    return {**arm.environment, "ROOM_SHOWS": AZURE_JSON}


def start_openstack(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    """A project as Jetstream2 gives one: a network with a router, an image, an application credential."""
    from emulators.openstack.services import AUTH_URL, Services

    services = Services(stage)
    end.callback(services.close)
    services.start()

    def project() -> dict[str, str]:
        user = services.user(services.account("research"))
        network = user.network.create_network(name="auto_allocated_network")
        subnet = user.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/16")
        outside = user.network.find_network("public")
        router = user.network.create_router(name="auto", external_gateway_info={"network_id": outside.id})
        user.network.add_interface_to_router(router, subnet=subnet.id)
        user.image.create_image(
            name="FlatcarContainerLinux-3815-2-2",
            disk_format="raw",
            container_format="bare",
            data=b"flatcar",
            os_distro="flatcar",
            os_version="3815.2.2",
            architecture="x86_64",
        )
        made = user.identity.create_application_credential(user.current_user_id, "flatyard")
        return {
            "auth_url": AUTH_URL,
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }

    entry = {
        "auth_type": "v3applicationcredential",
        "region_name": "RegionOne",
        "auth": stage.inside(project),
    }
    clouds = stage.folder / "clouds.yaml"
    clouds.write_text(json.dumps({"clouds": {"openstack": entry}}))
    return {
        "OS_CLIENT_CONFIG_FILE": str(clouds),
        "OS_CLOUD": "openstack",
        "ROOM_CONSOLES": str(services.consoles),
        "ROOM_EVERY": "2",
    }


EXAMPLES = (
    Example("aws", "aws.yaml", "web", "aws eu-central-1", 3, 4, "general-a", start_aws, killed="scale"),
    Example(
        "aws",
        "aws-image.yaml",
        "baked",
        "aws eu-central-1",
        1,
        2,
        "general",
        start_aws_with_images,
        flavor="image",
        looks=(kubernetes_is_baked_in, workers_are_spread),
    ),
    Example(
        "azure",
        "azure-sysext.yaml",
        "prod",
        "azure germanywestcentral",
        3,
        2,
        "general",
        start_azure,
        (("7d3c5a52-6a2f-4d1b-9b8e-0f4a1c2e6b90", "11111111-1111-1111-1111-111111111111"),),
        looks=(azure_json_names_what_there_is,),
        killed="down",
    ),
    Example(
        "azure",
        "azure-image.yaml",
        "baked",
        "azure westeurope",
        1,
        2,
        "general",
        start_azure,
        (("7d3c5a52-6a2f-4d1b-9b8e-0f4a1c2e6b90", "11111111-1111-1111-1111-111111111111"),),
        flavor="image",
        looks=(azure_json_names_what_there_is, kubernetes_is_baked_in),
    ),
    Example(
        "openstack",
        "openstack-jetstream2.yaml",
        "kubejetstream",
        "openstack RegionOne",
        1,
        2,
        "node",
        start_openstack,
        (
            ("https://js2.jetstream-cloud.org:5000/v3/", "http://127.0.0.1:5000/v3"),
            ("region: IU", "region: RegionOne"),
        ),
    ),
)


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda example: example.key)
def life(
    request: pytest.FixtureRequest,
    new_stage: Callable[[str], Stage],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Life]:
    example: Example = request.param
    stage = new_stage(f"life-{example.key}")
    folder = tmp_path_factory.mktemp(f"life-{example.key}")
    made = Life(example, stage, folder / "state")
    end = ExitStack()
    try:
        made.environment |= {
            "FLATYARD_STATE": str(made.state),
            "FLATYARD_FEED": FEED,
            "PYTHONPATH": str(HERE.parent),
            "ROOM_SPEED": "60",
            **example.start(stage, end),
        }
        room = [sys.executable, "-m", "emulators.room", f"emulators.window_{example.cloud}", str(folder)]
        stage.start("room", room, port=FEED_PORT, environment=made.environment)
        yield made
    finally:
        end.close()
        stage.close()


def test_a_cluster_lives_and_leaves_nothing(life: Life):
    """One test for the whole life: each step needs the one before."""
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
