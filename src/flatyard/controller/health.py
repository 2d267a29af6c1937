"""From a cluster's objects to one tree: what there is, what is not healthy, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flatyard.controller.events import WaitLine
from flatyard.controller.state import State
from flatyard.engine.labels import CONTROL_PLANE_LABEL, RESTARTING
from flatyard.kube.api import Json, Object


@dataclass(frozen=True, slots=True)
class MachineView:
    """One machine and its node. `why` is empty when it is healthy."""

    name: str
    phase: str
    node: str
    kubelet: str
    address: str
    os_image: str
    why: str

    @property
    def healthy(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class PoolView:
    """The control plane, or one MachineDeployment."""

    name: str
    wanted: int
    machines: tuple[MachineView, ...]

    @property
    def ready(self) -> int:
        return sum(1 for machine in self.machines if machine.healthy)

    @property
    def healthy(self) -> bool:
        return self.ready == self.wanted == len(self.machines)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster as `status` shows it."""

    name: str
    phase: str
    twin: str
    region: str
    kubernetes: str
    flatcar: str
    endpoint: str
    server: str
    api: bool
    control_plane: PoolView
    pools: tuple[PoolView, ...]
    strangers: tuple[str, ...]
    """Nodes that belong to no machine."""
    waits: tuple[WaitLine, ...]
    stand_in: bool = False
    """What is called Flatcar is a stand-in for it."""
    simulated: bool = True

    @property
    def healthy(self) -> bool:
        pools = (self.control_plane, *self.pools)
        return self.phase == "running" and self.api and not self.waits and all(p.healthy for p in pools)


def view(state: State) -> ClusterView:
    """The tree of one cluster; in each pool the machines that are not healthy come first."""
    cluster = state.clusters[0] if state.clusters else Object({})
    nodes = {node.name: node for node in state.nodes}
    reasons = {wait.object: first_line(wait.reason) for wait in state.waits}
    planes, workers = _split(state.machines)
    used = {_node_name(machine): None for machine in state.machines}
    return ClusterView(
        name=state.name,
        phase=state.phase,
        twin=state.twin,
        region=state.region,
        kubernetes=str((cluster.spec.get("kubernetes") or {}).get("version", "")),
        flatcar=state.flatcar,
        endpoint=state.endpoint,
        server=state.server,
        api=state.api,
        control_plane=_pool("control plane", _planes_wanted(cluster), planes, nodes, reasons),
        pools=_pools(state.deployments, workers, nodes, reasons),
        strangers=tuple(name for name in nodes if name not in used),
        waits=state.waits,
        stand_in=state.stand_in,
        simulated=state.simulated,
    )


def _split(machines: Iterable[Object]) -> tuple[list[Object], list[Object]]:
    planes: list[Object] = []
    workers: list[Object] = []
    for machine in machines:
        (planes if CONTROL_PLANE_LABEL in machine.labels else workers).append(machine)
    return planes, workers


def _planes_wanted(cluster: Object) -> int:
    return int((cluster.spec.get("controlPlane") or {}).get("replicas", 1))


def _pools(
    deployments: Iterable[Object],
    workers: list[Object],
    nodes: Mapping[str, Object],
    reasons: Mapping[str, str],
) -> tuple[PoolView, ...]:
    pools = []
    left = list(workers)
    for deployment in deployments:
        selector = (deployment.spec.get("selector") or {}).get("matchLabels") or {}
        mine = [m for m in left if selector and selector.items() <= dict(m.labels).items()]
        left = [m for m in left if m not in mine]
        wanted = int(deployment.spec.get("replicas", 1))
        pools.append(_pool(deployment.name, wanted, mine, nodes, reasons))
    if left:
        pools.append(_pool("machines of no pool", len(left), left, nodes, reasons))
    return tuple(pools)


def _pool(
    name: str,
    wanted: int,
    machines: list[Object],
    nodes: Mapping[str, Object],
    reasons: Mapping[str, str],
) -> PoolView:
    views = [_machine(m, nodes.get(_node_name(m)), reasons.get(f"machine/{m.name}", "")) for m in machines]
    return PoolView(name, wanted, tuple(sorted(views, key=lambda v: (v.healthy, v.name))))


def _machine(machine: Object, node: Object | None, waiting: str) -> MachineView:
    info = (node.status.get("nodeInfo") or {}) if node else {}
    return MachineView(
        name=machine.name,
        phase=str(machine.status.get("phase") or "Pending"),
        node=_node_name(machine),
        kubelet=str(info.get("kubeletVersion", "")),
        address=_address(machine),
        os_image=str(info.get("osImage", "")),
        why=_why(machine, node, waiting),
    )


def _why(machine: Object, node: Object | None, waiting: str) -> str:
    """Why a machine is not healthy, the most telling reason first; empty when it is."""
    if machine.status.get("errorMessage"):
        return first_line(str(machine.status["errorMessage"]))
    if machine.deleting:
        return waiting or "it is being deleted"
    if RESTARTING in machine.annotations and waiting:
        return waiting  # its node falls silent meanwhile, as it should
    if node is None:
        return waiting or "it has no node yet"
    conditions: list[Json] = node.status.get("conditions") or []
    ready = next((c for c in conditions if c.get("type") == "Ready"), {})
    if ready.get("status") != "True":
        return str(ready.get("message") or ready.get("reason") or "its node is not Ready")
    return waiting


def first_line(text: str) -> str:
    """What failed; a unit's last lines, which may follow, are for whoever asks for the object itself."""
    return text.partition("\n")[0]


def _node_name(machine: Object) -> str:
    return str((machine.status.get("nodeRef") or {}).get("name", ""))


def _address(machine: Object) -> str:
    found = machine.status.get("addresses") or ()
    return next((str(a["address"]) for a in found if a.get("type") == "InternalIP"), "")
