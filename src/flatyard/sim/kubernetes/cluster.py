"""One simulated Kubernetes cluster: its API, its etcd members, and what happens around the API.

Machines bring it to life: the first runs `init`, others `join`, each tells when its kubelet runs and when it
falls silent. The API answers while a majority of the etcd members run. No container runs anywhere, and every
node says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar

from flatyard.base.world import World
from flatyard.kube import kinds as served
from flatyard.kube.api import Unreachable
from flatyard.kube.etcd import EtcdRefused
from flatyard.kube.kinds import Kind
from flatyard.kube.memory import MemoryApi
from flatyard.kube.registry import Admission
from flatyard.kube.shelf import Change
from flatyard.sim.disk import Disk
from flatyard.sim.kubernetes import bootstrap
from flatyard.sim.kubernetes.certificates import Certificates
from flatyard.sim.kubernetes.client import ClusterApi
from flatyard.sim.kubernetes.context import Context
from flatyard.sim.kubernetes.etcd import (
    Members,
    Quorum,
    SimEtcd,
    SimMember,
    promoted,
    voters,
    with_learner,
)
from flatyard.sim.kubernetes.kubeadm import InitConfiguration, JoinConfiguration, KubeadmError, check_versions
from flatyard.sim.kubernetes.kubelet import Kubelet
from flatyard.sim.kubernetes.nodes import Nodes
from flatyard.sim.kubernetes.pods import Pods
from flatyard.sim.kubernetes.scheduler import Scheduler
from flatyard.sim.kubernetes.tokens import Tokens
from flatyard.sim.kubernetes.work import Work
from flatyard.sim.kubernetes.workloads import Workloads
from flatyard.sim.timings import Timings

T = TypeVar("T")
_OBJECTS = "objects/"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class State:
    """What the cluster is, besides its objects. `ca_pin` is kubeadm's `sha256:HEX`."""

    etcd: Members = ()
    etcd_number: int = 0
    """So many members etcd has had in all."""
    origin: str = ""
    """The machine (its machine-id) on whose disk the cluster began."""
    ca_pin: str = ""
    version: str = ""
    endpoint: str = ""
    pod_subnet: str = ""
    node_mask: int = 24
    serving_requests: bool = False
    uploaded: bool = False
    """kubeadm init has finished its work in the API."""

    @property
    def members(self) -> tuple[str, ...]:
        """The nodes on which etcd's voting members are."""
        return voters(self.etcd)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> State:
        raw = json.loads(text)
        return cls(**{**raw, "etcd": tuple(SimMember.decode(member) for member in raw["etcd"])})


class _Part(Protocol):
    def resume(self) -> None: ...
    def observe(self, change: Change) -> None: ...


class SimKubernetes:
    """A simulated cluster. Call `start` in the running loop before anything else, `stop` at the end.

    What is on `disk` below `prefix` is taken up again; without a disk nothing outlives the object.
    """

    def __init__(
        self,
        world: World,
        disk: Disk | None = None,
        *,
        prefix: str = "kubernetes/",
        kinds: Sequence[Kind] = served.DEFAULT,
        timings: Timings = Timings(),  # noqa: B008 - frozen
        admission: Admission | None = None,
    ) -> None:
        self.world = world
        self.timings = timings
        self._disk = disk
        self._prefix = prefix
        self._kinds = kinds
        self._admission = admission
        self._state = self._stored_state()
        self._quorum = Quorum(self._state.etcd)
        self.api = MemoryApi(
            self.world,
            self._kinds,
            persist=None if self._disk is None else self._persist,
            stored=self._stored(_OBJECTS),
            admission=self._admission,
        )
        self.context = Context(self.api, self.world, self.timings, Work(self.api.write), self._quorum)
        self._certificates = Certificates(self.context)
        self._nodes = Nodes(self.context, self._certificates.ask_serving)
        self._tokens = Tokens(self.context)
        self._parts: tuple[_Part, ...] = (
            self._nodes,
            self._tokens,
            self._certificates,
            Pods(self.context),
            Scheduler(self.context),
            Workloads(self.context),
        )
        self.api.storage.observers.append(self._observe)

    # ---- disk

    def _stored(self, folder: str) -> list[tuple[str, bytes]]:
        start = self._prefix + folder
        found = self._disk.items(start) if self._disk is not None else ()
        return [(key.removeprefix(start), value) for key, value in found]

    def _stored_state(self) -> State:
        found = dict(self._stored(""))
        return State.decode(found[_STATE]) if _STATE in found else State()

    def _persist(self, key: str, value: bytes | None) -> None:
        if self._disk is None:
            return
        if value is None:
            self._disk.delete(self._prefix + _OBJECTS + key)
        else:
            self._disk.put(self._prefix + _OBJECTS + key, value)

    def _keep(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
        if self._disk is not None:
            self._disk.put(self._prefix + _STATE, self._state.encode())
        self._set_up()

    def _set_up(self) -> None:
        self._quorum.members = self._state.etcd
        self.context.pod_subnet = self._state.pod_subnet
        self.context.node_mask = self._state.node_mask
        self.context.serving_requests = self._state.serving_requests

    # ---- life

    async def start(self) -> None:
        """Take up work where the disk says it was left; machines report in by themselves."""
        self._quorum.running = True
        self._set_up()
        self.context.work.start()
        for part in self._parts:
            part.resume()
        self._changed()

    async def stop(self) -> None:
        """Stop all work; the store stays readable."""
        self._quorum.running = False
        self._end_watches()
        await self.context.work.stop()

    def client(self) -> ClusterApi:
        """The cluster's API as the engine and the machines reach it."""
        return ClusterApi(self.context)

    def etcd(self) -> SimEtcd:
        """The membership of the cluster's etcd."""
        return SimEtcd(self._quorum, self._keep_members)

    @property
    def state(self) -> State:
        return self._state

    @property
    def etcd_members(self) -> Members:
        return self._state.etcd

    @property
    def up(self) -> Mapping[str, None]:
        """The control planes whose static pods run, by node name."""
        return self._quorum.up

    @property
    def kubelets(self) -> Mapping[str, Kubelet]:
        """The running kubelets by node name."""
        return self.context.kubelets

    @property
    def available(self) -> bool:
        """Whether the API answers: a majority of etcd's members run."""
        return self._quorum.present

    def why_unavailable(self) -> str:
        """In one sentence."""
        return self._quorum.why_lost()

    def serving(self, node_name: str) -> bool:
        """Whether this control plane's API server answers: what a load balancer's health check sees."""
        return self.available and node_name in self.up

    def _changed(self) -> None:
        self.context.work.allow(self.available)
        if not self.available:
            self._end_watches()

    def _end_watches(self) -> None:
        for queue in self.context.watchers:
            queue.put_nowait(Unreachable("the connection to the simulated Kubernetes API was lost"))
        self.context.watchers.clear()

    def _observe(self, change: Change) -> None:
        for part in self._parts:
            part.observe(change)

    async def _write(self, act: Callable[[], T]) -> T:
        self._quorum.check()
        return await self.api.write(act)

    # ---- what machines do

    def kubelet_started(self, kubelet: Kubelet) -> None:
        """A machine's kubelet runs (again): its node registers as soon as the API answers."""
        self._nodes.register(kubelet)
        if kubelet.control_plane:
            self.context.work.add("static-pods", kubelet.node_name)

    def control_plane_started(self, node_name: str) -> None:
        """A control plane's static pods run: its etcd member and its API server are up."""
        self._quorum.up[node_name] = None
        self._changed()

    def machine_stopped(self, node_name: str) -> None:
        """A machine is off: its kubelet is silent, its member down."""
        if node_name in self.context.kubelets:
            self._nodes.silent(node_name)
        if self._quorum.up.pop(node_name, "") is None:
            self._changed()

    def may_init(self, node_name: str) -> None:
        """Raises KubeadmError where `kubeadm init` would make a second cluster."""
        others = [name for name in self._state.members if name != node_name]
        if any(name in self.up for name in others):
            raise KubeadmError(
                "preflight",
                f"a control plane runs already on {', '.join(others)}: kubeadm init would make a second, separate "
                "cluster behind the same endpoint",
            )

    async def begin(self, kubelet: Kubelet, config: InitConfiguration, ca_pin: str) -> None:
        """`kubeadm init` up to the point where the new API server answers."""
        check_versions(kubelet.version, kubelet.version, config.cluster.kubernetes_version)
        self.may_init(kubelet.node_name)
        if self._state.origin not in ("", kubelet.machine_id) or len(self._state.members) > 1:
            await self._forget()
        cluster = config.cluster
        number = self._state.etcd_number + 1
        self._keep(
            etcd=(SimMember(kubelet.node_name, kubelet.address, number),),
            etcd_number=number,
            origin=kubelet.machine_id,
            ca_pin=ca_pin,
            version=cluster.kubernetes_version,
            endpoint=cluster.endpoint,
            pod_subnet=cluster.pod_subnet,
            node_mask=cluster.node_cidr_mask_size,
            serving_requests=config.kubelet.get("serverTLSBootstrap") is True,
        )
        self.control_plane_started(kubelet.node_name)

    async def upload(self, kubelet: Kubelet, config: InitConfiguration, ca: bytes) -> None:
        """The rest of `kubeadm init`: its objects, its node. Doing it again changes nothing."""

        def make() -> None:
            for resource, raw in bootstrap.objects(self.context, config, ca):
                self.context.create_missing(resource, raw)

        await self._write(make)
        self._keep(uploaded=True)
        self._nodes.resume()
        self.kubelet_started(kubelet)

    async def _forget(self) -> None:
        """Every member is gone for good, and with them all data: a new cluster begins."""

        def clear() -> None:
            for kind, shelf in self.api.storage.shelves.items():
                for key in list(shelf.objects):
                    self.api.storage.remove(kind, key)

        self._quorum.up.clear()
        self._keep(etcd=(), origin="", uploaded=False)
        self._changed()
        self.context.kubelets.clear()
        self.context.silent_since.clear()
        await self.api.write(clear)

    def discover(self, config: JoinConfiguration, kubelet_version: str) -> None:
        """`kubeadm join` up to the kubelet's start; raises KubeadmError, or Unreachable to be tried again."""
        if not self.available or not self._state.uploaded:
            raise Unreachable(f"the simulated Kubernetes API does not answer: {self.why_unavailable()}")
        self._tokens.check_signed(config.token)
        if not config.skip_ca and self._state.ca_pin not in config.ca_hashes:
            pins = ", ".join(f'"{pin}"' for pin in config.ca_hashes)
            raise KubeadmError(
                "preflight",
                "couldn't validate the identity of the API Server: cluster CA found in cluster-info ConfigMap is "
                f'invalid: public key "{self._state.ca_pin}" not pinned by [{pins}]',
            )
        check_versions(kubelet_version, kubelet_version, self._state.version)

    async def log_in(self, config: JoinConfiguration, kubelet: Kubelet) -> str:
        """The kubelet's TLS bootstrap up to its certificate request, whose name it returns.

        Raises KubeadmError or Unreachable.
        """

        def ask() -> str:
            return self._certificates.ask_client(kubelet, self._tokens.check_login(config.tls_token))

        return await self._write(ask)

    async def approved(self, request: str) -> None:
        """Wait until somebody approves a certificate request."""
        await self._certificates.approved(request)

    def waiting_for(self, request: str) -> str:
        """What a kubelet that waits in vain says about its certificate request."""
        return self._certificates.waiting_for(request)

    def check_etcd(self) -> None:
        """Before a member joins, all that vote must answer; raises KubeadmError."""
        for name in self._state.members:
            if name not in self.up:
                raise KubeadmError(
                    "check-etcd",
                    f"etcd cluster is not healthy: failed to dial the member on {name}: deadline exceeded",
                )

    def add_learner(self, node_name: str, address: str = "") -> None:
        """A joining control plane announces its etcd member, which has no vote yet; raises KubeadmError."""
        number = self._state.etcd_number + 1
        if not self.available:
            raise KubeadmError("etcd-join", f"etcd does not answer: {self.why_unavailable()}")
        try:
            members = with_learner(self._state.etcd, node_name, address, number)
        except EtcdRefused as refused:
            raise KubeadmError("etcd-join", refused.what) from None
        if members != self._state.etcd:
            self._keep(etcd=members, etcd_number=number)

    def add_member(self, node_name: str, address: str = "") -> None:
        """A joining control plane's etcd member votes from now on; raises KubeadmError."""
        self.add_learner(node_name, address)
        self._keep(etcd=promoted(self._state.etcd, node_name))
        self.control_plane_started(node_name)

    def _keep_members(self, members: Members) -> None:
        """etcd has agreed on other members; one that is left out is down, whatever its machine does."""
        names = [member.name for member in members]
        for gone in [name for name in self.up if name not in names]:
            del self._quorum.up[gone]
        self._keep(etcd=members)
        self._changed()
