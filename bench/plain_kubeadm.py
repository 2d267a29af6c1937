"""The peer of `flatyard up`: boot three machines, `kubeadm init` in one, `kubeadm join` in two, and nothing else.

    .venv/bin/python bench/plain_kubeadm.py up|down

It ends when three nodes are Ready, and leaves them until it is told `down`. The machines are those that `flatyard up`
makes of `examples/local.yaml`: the same root tree, Ignition, extension, containerd and images, but the unit that would
run kubeadm is masked. Programs are compiled before: `flatyard up` has done that once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flatyard.base.world import RealWorld
from flatyard.clouds.cloud import ClusterRef, CreateRequest, Instance, Role
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.folders import ClusterFolder, MachineFolder
from flatyard.clouds.local.images import reference_of
from flatyard.clouds.local.processes import inside, leader
from flatyard.clouds.local.settings import architecture, settings
from flatyard.controller.supplies import FolderFeeds, Supplies
from flatyard.ignition import config, unit
from flatyard.ignition.encode import encode
from flatyard.model.cluster import Cluster
from flatyard.model.documents import read
from flatyard.model.machines import LocalMachine
from flatyard.node import layout
from flatyard.node.inputs import ClusterSettings, JoinWorker, MachineIdentity, NodeRole, PoolSettings
from flatyard.node.render import prepare
from flatyard.pki import new_token
from flatyard.sysext.serve import serving

REF = ClusterRef("01JGFJJZ000000000000PLA1N0", "plain")
NAMES = ("plain-1", "plain-2", "plain-3")
EXAMPLE = Path(__file__).resolve().parent.parent / "examples/local.yaml"
TOKEN = "abcdef.0123456789abcdef"
KUBEADM = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: TOKEN, ttl: 1h0m0s}]
nodeRegistration: {name: NAME}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: VERSION
encryptionAlgorithm: ECDSA-P256
networking: {podSubnet: PODS}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
failSwapOn: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
"""
"""What kubeadm cannot leave at its default in a container of this Linux machine, and the faster kind of key."""


class Failed(Exception):
    """A command in a machine failed."""


def example() -> Cluster:
    """The cluster that `flatyard up` makes."""
    found = read([(str(EXAMPLE), EXAMPLE.read_text())]).cluster
    assert found is not None
    return found


async def boot(wanted: Cluster) -> Sequence[MachineFolder]:
    """Ask for three machines at once, and wait until their containerd has its images."""
    version = wanted.spec.kubernetes.version
    supplies = Supplies(settings().cache / "local")
    cloud = LocalCloud(replace(settings(), images=supplies.images(version)))
    network = await cloud.ensure_network(REF, wanted)
    token = new_token(RealWorld())
    async with serving(supplies.feed) as base:
        image = (await FolderFeeds(supplies.feed, base).feed()).image(version, architecture())
        own = config(units=[unit(layout.JOIN_UNIT, mask=True)])
        pool = PoolSettings(role=NodeRole.WORKER, name="plain", kubelet=version, image=image, extras=(own,))
        cluster = ClusterSettings(name=REF.name, id=REF.id, kubernetes=version, endpoint_host="none")
        template = prepare(cluster, pool, cloud.traits)

        async def create(number: int, name: str) -> Instance:
            identity = MachineIdentity(id=f"{REF.id[:-1]}{number}", name=name)
            request = CreateRequest(
                cluster=REF,
                machine_id=identity.id,
                attempt=1,
                name=name,
                role=Role.WORKER,
                pool="plain",
                zone="",
                image=reference_of(cloud.settings),
                machine=LocalMachine(cpus=2, memory_mb=2048),
                network=network,
                user_data=encode(template.render(identity, JoinWorker(token, "sha256:" + "0" * 64))),
            )
            return await cloud.create(request)

        made = await asyncio.gather(*(create(i, name) for i, name in enumerate(NAMES)))
        folder = ClusterFolder(settings().home / REF.id.lower())
        machines = [folder.folder(instance.id) for instance in made]
        await asyncio.gather(*map(prepared, machines))
    return machines


async def prepared(machine: MachineFolder) -> None:
    """Until its containerd has the images."""
    while await attempt(machine, "systemctl", "is-active", "flatyard-local-images.service"):
        await asyncio.sleep(0.2)


async def attempt(machine: MachineFolder, *command: str) -> int:
    """The exit code of a command in a machine; 1 while there is none to run it in."""
    pid = leader(machine.state().nspawn)
    return (await inside(pid, *command)).code if pid else 1


async def run(machine: MachineFolder, *command: str) -> str:
    """What a command in a machine said. Raises Failed."""
    done = await inside(leader(machine.state().nspawn), *command)
    if done.code:
        raise Failed(f"{' '.join(command)}: {done.code}\n{done.said}")
    return done.said


async def ready(machine: MachineFolder) -> bool:
    """Whether three nodes are."""
    said = await run(
        machine, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes", "-o", "json"
    )
    nodes = json.loads(said)["items"]
    states = [c["status"] for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    return states == ["True"] * len(NAMES)


def kubeadm_config(wanted: Cluster) -> str:
    """For the first machine."""
    given = {"VERSION": wanted.spec.kubernetes.version, "PODS": wanted.spec.network.pods}
    text = KUBEADM
    for word, value in (given | {"TOKEN": TOKEN, "NAME": NAMES[0]}).items():
        text = text.replace(word, value)
    return text


async def up() -> None:
    """Three Ready nodes."""
    wanted = example()
    first, *others = await boot(wanted)
    (first.path / "root/root/init.yaml").write_text(kubeadm_config(wanted))
    await run(first, "kubeadm", "init", "--config", "/root/init.yaml")
    found = first.machine()
    assert found is not None
    join = ("kubeadm", "join", f"{found.address}:6443", "--token", TOKEN)
    await asyncio.gather(
        *(run(other, *join, "--discovery-token-unsafe-skip-ca-verification") for other in others)
    )
    while not await ready(first):
        await asyncio.sleep(0.5)


async def down() -> None:
    """Remove all of it."""
    cloud = LocalCloud()
    while owned := await cloud.sweep(REF):
        for one in owned:
            if one.kind != "network" or len(owned) == 1:
                await cloud.delete_owned(REF, one)


if __name__ == "__main__":
    asyncio.run({"up": up, "down": down}[sys.argv[1]]())
