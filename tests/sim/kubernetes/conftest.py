"""A cluster without machines: kubelets are told to run or to fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flatyard.base.world import SeededWorld
from flatyard.kube import resources as r
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.kubernetes import Kubelet, SimKubernetes, Taint, read_init
from flatyard.sim.loop import run
from flatyard.sim.timings import Timings

INIT = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- {token: abcdef.0123456789abcdef, ttl: 30m0s, groups: ["system:bootstrappers:flatyard"]}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.34.3
controlPlaneEndpoint: api.test:6443
networking: {podSubnet: 10.244.0.0/16}
"""
OUR_TOKENS = "system:bootstrappers:flatyard"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def kubelet(name: str, *, control_plane: bool = False, **changes: Any) -> Kubelet:
    given: dict[str, Any] = {
        "node_name": name,
        "hostname": name,
        "version": "v1.34.3",
        "addresses": (("InternalIP", "192.168.1.1"), ("Hostname", name)),
        "boot_id": f"{name}-1",
        "machine_id": f"machine-of-{name}",
        "cni_configured": True,
        "control_plane": control_plane,
        "labels": {CONTROL_PLANE: ""} if control_plane else {},
        "taints": (Taint(CONTROL_PLANE, "NoSchedule"),) if control_plane else (),
    }
    return Kubelet(**{**given, **changes})


class Bench:
    """A started cluster with one control plane, `cp-0`, and ways to add nodes and workloads."""

    def __init__(
        self,
        *,
        disk: MemoryDisk | None = None,
        timings: Timings | None = None,
        text: str = INIT,
        more: str = "",
        token_group: str = OUR_TOKENS,
    ) -> None:
        """`text` is kubeadm's configuration, `more` other documents behind it."""
        self.world = SeededWorld(1, asyncio.get_running_loop().time)
        self.disk = disk or MemoryDisk()
        self.kubernetes = SimKubernetes(self.world, self.disk, timings=timings or Timings())
        self.api = self.kubernetes.client()
        self.config = read_init(text.replace(OUR_TOKENS, token_group) + more)

    kubelet = staticmethod(kubelet)

    async def begin(self, **changes: Any) -> None:
        await self.kubernetes.start()
        node = kubelet("cp-0", control_plane=True, **changes)
        await self.kubernetes.begin(node, self.config, "sha256:pin")
        await self.kubernetes.upload(node, self.config, b"ca")
        await asyncio.sleep(60)

    async def add(self, *names: str, **changes: Any) -> None:
        for name in names:
            self.kubernetes.kubelet_started(kubelet(name, **changes))
        await asyncio.sleep(60)

    async def pods(self, labels: str = "", namespace: str = "", node: str = "") -> list[Any]:
        fields = f"spec.nodeName={node}" if node else ""
        return list((await self.api.list(r.PODS, namespace, labels=labels, fields=fields)).items)

    async def deployment(self, name: str, replicas: int, **spec: Any) -> None:
        await self.api.create(
            r.DEPLOYMENTS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {"containers": [{"name": "c", "image": "nginx:1"}], **spec},
                    },
                },
            },
        )
        await asyncio.sleep(30)


@pytest.fixture
def play() -> Callable[..., Any]:
    def player(story: Callable[[Bench], Any], *, begin: bool = True, **given: Any) -> Any:
        async def main() -> Any:
            bench = Bench(**given)
            if begin:
                await bench.begin()
            try:
                return await story(bench)
            finally:
                await bench.kubernetes.stop()

        return run(main(), until=1e6)

    return player
