"""`kubeadm init` and `kubeadm join` on a simulated machine, with the script around them.

Everything comes from the machine's tree, its hardware and what it can reach. Messages are kubeadm 1.34's in
meaning, times come from `Timings`, and waits end at kubeadm's own deadlines.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Protocol

from flatyard.flatcar import releases
from flatyard.kube.api import Unreachable
from flatyard.node import layout
from flatyard.pki.keys import Authority
from flatyard.sim.boot import Boot, CommandFailed
from flatyard.sim.kubernetes import (
    InitConfiguration,
    JoinConfiguration,
    KubeadmError,
    Kubelet,
    SimKubernetes,
    Taint,
    read_init,
    read_join,
)
from flatyard.sim.kubernetes.kubeadm import CONTROL_PLANE_TAINT, NodeRegistration, check_versions
from flatyard.sim.timings import Timings
from flatyard.sim.unit import Unit, escape_path

CNI_FOLDER = "/etc/cni/net.d"
_CONFIG = re.compile(r"--config[= ]([^\s;&|]+)")
_WAIT_FOR = re.compile(r"until curl [^;]*https://([^/\s:]+):(\d+)/readyz")
_MAP = re.compile(r"^map (127\.0\.0\.1|\"\$\(cat )", re.MULTILINE)
_BLAME = re.compile(r"^(.*?)\s*\|\|\s*blame (\S+) \"([^\"]*)\"", re.MULTILINE)
_HOST = re.compile(r'echo "\$1 (\S+) # flatyard"')
_CONTROL_PLANE_LABELS = {
    "node-role.kubernetes.io/control-plane": "",
    "node.kubernetes.io/exclude-from-external-load-balancers": "",
}
_PKI = ("ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "etcd/ca.crt")


class Reach(Protocol):
    """The network around a machine."""

    def __call__(self, host: str, port: int) -> str:
        """Try a TCP connection; empty when it is accepted, else what a client prints."""
        ...


class Kubeadm:
    """One attempt of a unit that runs kubeadm."""

    def __init__(
        self,
        boot: Boot,
        kubernetes: SimKubernetes,
        reach: Reach,
        timings: Timings,
        wait: Callable[[str], float],
        say: Callable[[str], None],
        boot_id: str,
    ) -> None:
        self._boot = boot
        self._kubernetes = kubernetes
        self._reach = reach
        self._timings = timings
        self._wait = wait
        self._say = say
        self._boot_id = boot_id

    async def run(self, unit: Unit) -> Kubelet:
        """The unit's commands; returns the kubelet that runs in the end. Raises CommandFailed."""
        script = self._boot.script(unit)
        self._boot.forget_cause()
        self._preconditions(unit, script)
        await self._await_endpoint(script)
        try:
            kubelet = await self._kubeadm(script)
        except KubeadmError as problem:
            raise CommandFailed(f"error execution phase {problem.phase}: {problem.message}") from None
        if layout.STAMP in script:
            self._boot.write(layout.STAMP, "")
        return kubelet

    # ---- the script around kubeadm

    def _preconditions(self, unit: Unit, script: str) -> None:
        for words in unit.commands():
            self._boot.command(unit, words)
        for condition, blamed, said in _BLAME.findall(script):
            if not self._holds(condition.replace("$c", layout.KUBEADM_READY_CONFIG)):
                self._boot.write(layout.CAUSE_FILE, blamed)
                raise CommandFailed(f"flatyard: {said.replace('$c', layout.KUBEADM_READY_CONFIG)}")
        if not self._boot.version("kubeadm"):
            raise CommandFailed("kubeadm: command not found", "exit-code")

    def _holds(self, condition: str) -> bool:
        """A test that the script makes before kubeadm; one that is not known here holds."""
        boot = self._boot
        if "command -v kubeadm" in condition:
            return bool(boot.version("kubeadm"))
        if "is-enabled kubelet" in condition:
            return boot.manager.load(layout.KUBELET_UNIT).problem != "masked"
        if found := re.search(r"is-active -q (\S+)", condition):
            name = found[1] if "." in found[1] else f"{found[1]}.service"
            return boot.is_active(name)
        if found := re.search(r"mountpoint -q (\S+)", condition):
            return boot.is_active(f"{escape_path(found[1])}.mount")
        if found := re.search(r"\[ -s (\S+) \]", condition):
            return bool(boot.tree.text(found[1]))
        return True

    async def _await_endpoint(self, script: str) -> None:
        found = _WAIT_FOR.search(script)
        if found is None:
            return
        host, port = found[1], int(found[2])
        tries = 0
        while self.connect(host, port):
            if tries >= 300:
                raise CommandFailed(f"flatyard: https://{host}:{port} does not answer")
            if tries % 30 == 0:
                self._say(f"flatyard-join[902]: flatyard: waiting for https://{host}:{port}")
            tries += 1
            await asyncio.sleep(5 if tries > 60 else 1)

    def connect(self, host: str, port: int) -> str:
        """A connection as this machine's resolver and network make it."""
        address = self._hosts().get(host, host)
        if address.startswith("127.") or address == self._boot.hardware.address:
            serves = self._kubernetes.serving(self._node_name)
            return "" if serves else f"dial tcp {address}:{port}: connect: connection refused"
        return self._reach(address, port)

    def _hosts(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for line in (self._boot.tree.text("/etc/hosts") or "").splitlines():
            words = line.partition("#")[0].split()
            for name in words[1:]:
                found.setdefault(name, words[0])
        return found

    def _map_endpoint(self, script: str, *, joined: bool) -> None:
        """The script's mapping of the endpoint's name where load balancers do not hairpin."""
        name, kinds = _HOST.search(script), _MAP.findall(script)
        if name is None or not kinds:
            return
        text = (self._boot.tree.text("/etc/hosts") or "").splitlines()
        kept = [line for line in text if not line.endswith(" # flatyard")]
        by_peer = any("cat" in kind for kind in kinds) and not joined
        peer = (self._boot.tree.text(layout.PEER_FILE) or "").strip()
        address = peer if by_peer and peer else "127.0.0.1"
        self._boot.write("/etc/hosts", "\n".join([*kept, f"{address} {name[1]} # flatyard"]) + "\n")

    # ---- kubeadm itself

    _node_name = ""

    async def _kubeadm(self, script: str) -> Kubelet:
        text, init = self._config(script)
        self._say("kubeadm[902]: [preflight] Running pre-flight checks")
        if not self._boot.is_active(layout.CONTAINERD_UNIT):
            raise KubeadmError(
                "preflight", "[ERROR CRI]: container runtime is not running: connection refused"
            )
        await asyncio.sleep(self._wait("kubeadm_preflight"))
        self._map_endpoint(script, joined=False)
        kubelet = await (self._init(read_init(text)) if init else self._join(read_join(text), script))
        self._boot.write(layout.KUBELET_CONFIG, "# written by kubeadm\n")
        return kubelet

    def _config(self, script: str) -> tuple[str, bool]:
        path = next(
            (found for found in _CONFIG.findall(script) if found.startswith("/")), layout.KUBEADM_READY_CONFIG
        )
        text = self._boot.tree.text(path)
        if text is None:
            raise KubeadmError("preflight", f"unable to read config from {path!r}: no such file or directory")
        return text, bool(re.search(r"\bkubeadm init\b", script))

    async def _init(self, config: InitConfiguration) -> Kubelet:
        kubelet = self._kubelet(config.node, control_plane=True)
        check_versions(self._boot.version("kubeadm"), kubelet.version, config.cluster.kubernetes_version)
        self._kubernetes.may_init(kubelet.node_name)
        ca = (self._boot.tree.text(f"{layout.PKI_FOLDER}/ca.crt") or "").encode()
        await self._check_kubelet(config.timeouts)
        self._say("kubeadm[902]: [wait-control-plane] Waiting for a healthy API server")
        await asyncio.sleep(self._wait("kubeadm_init"))
        await self._kubernetes.begin(kubelet, config, _pin(ca))
        await self._reach_endpoint(config.cluster.endpoint, config.timeouts)
        try:
            await self._kubernetes.upload(kubelet, config, ca)
        except Unreachable as problem:
            raise KubeadmError("upload-config", problem.what) from None
        self._say("kubeadm[902]: Your Kubernetes control-plane has initialized successfully!")
        return kubelet

    async def _reach_endpoint(self, endpoint: str, timeouts: Mapping[str, float]) -> None:
        host, _, port = endpoint.rpartition(":")
        if not host:
            return
        deadline = timeouts.get("controlPlaneComponentHealthCheck", self._timings.control_plane_check)
        problem = await self._until(lambda: self.connect(host, int(port)), deadline)
        if problem:
            raise KubeadmError(
                "upload-config",
                f'Post "https://{endpoint}/api/v1/namespaces/kube-system/configmaps": {problem}',
            )

    async def _join(self, config: JoinConfiguration, script: str) -> Kubelet:
        kubelet = self._kubelet(config.node, control_plane=config.control_plane)
        await self._discover(config, kubelet.version)
        if config.control_plane:
            self._check_pki()
            self._kubernetes.check_etcd()
        await self._check_kubelet(config.timeouts)
        await asyncio.sleep(self._wait("kubeadm_join"))
        await self._bootstrap_kubelet(config, kubelet)
        if config.control_plane:
            self._kubernetes.add_learner(kubelet.node_name, kubelet.address)
            await asyncio.sleep(self._wait("static_pods"))
            self._kubernetes.add_member(kubelet.node_name, kubelet.address)
            self._map_endpoint(script, joined=True)
        # nothing is awaited from here until the machine remembers that it has joined: a simulation that is
        # killed knows either a node and a joined machine, or neither
        self._kubernetes.kubelet_started(kubelet)
        self._say("kubeadm[902]: This node has joined the cluster.")
        return kubelet

    async def _discover(self, config: JoinConfiguration, version: str) -> None:
        host, _, port = config.endpoint.rpartition(":")
        last: list[KubeadmError] = []

        def look() -> str:
            problem = self.connect(host, int(port or 6443))
            if problem:
                return f'failed to request the cluster-info ConfigMap: Get "https://{config.endpoint}": {problem}'
            last.clear()
            try:
                self._kubernetes.discover(config, version)
            except Unreachable as unreachable:
                return unreachable.what
            except KubeadmError as refused:
                if "not pinned" in refused.message or "version" in refused.message:
                    raise  # waiting does not help
                last.append(refused)
                return refused.message
            return ""

        problem = await self._until(look, config.timeouts.get("discovery", self._timings.discovery))
        if last:
            raise last[0]
        if problem:
            raise KubeadmError("preflight", f"couldn't validate the identity of the API Server: {problem}")

    async def _bootstrap_kubelet(self, config: JoinConfiguration, kubelet: Kubelet) -> None:
        """The kubelet gets its client certificate by its token, once somebody approves its request."""
        request, silence = "", ""
        try:
            async with asyncio.timeout(config.timeouts.get("tlsBootstrap", self._timings.tls_bootstrap)):
                while not request:
                    try:
                        request = await self._kubernetes.log_in(config, kubelet)
                    except Unreachable as problem:
                        silence = problem.what
                        await asyncio.sleep(self._timings.retry)
                await self._kubernetes.approved(request)
        except TimeoutError:
            said = self._kubernetes.waiting_for(request) if request else silence
            raise KubeadmError("kubelet-wait-bootstrap", f"{said}: context deadline exceeded") from None

    async def _until(self, look: Callable[[], str], deadline: float) -> str:
        """Look again and again until nothing is wrong; what is still wrong at the deadline."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline
        while True:
            problem = look()
            if not problem or loop.time() >= end:
                return problem
            await asyncio.sleep(self._timings.retry)

    async def _check_kubelet(self, timeouts: Mapping[str, float]) -> None:
        problem = self._boot.kubelet_problem()
        if not problem:
            await asyncio.sleep(self._wait("kubelet_start"))
            return
        self._say(f"systemd[1]: {problem}")
        deadline = timeouts.get("kubeletHealthCheck", self._timings.kubelet_check)
        await asyncio.sleep(deadline)
        self._boot.note(layout.KUBELET_UNIT, problem)
        raise KubeadmError(
            "kubelet-start",
            f"[kubelet-check] The kubelet is not healthy after {deadline:g}s: "
            'Get "http://127.0.0.1:10248/healthz": dial tcp 127.0.0.1:10248: connect: connection refused. '
            + problem,
        )

    def _check_pki(self) -> None:
        for name in _PKI:
            path = f"{layout.PKI_FOLDER}/{name}"
            if self._boot.tree.text(path) is None:
                raise KubeadmError(
                    "preflight",
                    f"failure loading certificate or key: couldn't load {path}: no such file or directory",
                )

    def _kubelet(self, node: NodeRegistration, *, control_plane: bool) -> Kubelet:
        hardware, boot = self._boot.hardware, self._boot
        contents = releases.contents(hardware.image_version)
        hostname = (boot.tree.text(layout.HOSTNAME_FILE) or hardware.hostname).strip()
        self._node_name = node.name or hostname
        default = (CONTROL_PLANE_TAINT,) if control_plane else ()
        taints = default if node.taints is None else node.taints
        external = node.argument("cloud-provider") == "external"
        if external:
            taints = (*taints, Taint("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule", "true"))
        labels = dict(_pairs(node.argument("node-labels")))
        return Kubelet(
            node_name=self._node_name,
            hostname=hostname,
            version=boot.version("kubelet"),
            addresses=self._addresses(node, hostname),
            provider_id=node.argument("provider-id"),
            labels={**labels, **(_CONTROL_PLANE_LABELS if control_plane else {})},
            taints=taints,
            cpus=hardware.vcpus,
            memory=hardware.memory_mib << 20,
            pods=int(node.argument("max-pods") or 110),
            arch=hardware.arch,
            os_image=f"Flatcar Container Linux by Kinvolk {hardware.image_version} (simulated)",
            kernel=f"{contents.kernel or '6.12.0'}-flatcar",
            runtime=f"containerd://{contents.containerd or '2.0.0'}",
            machine_id=hashlib.sha256(hardware.instance_id.encode()).hexdigest()[:32],
            boot_id=self._boot_id,
            cri_socket=node.cri_socket,
            cni_configured=self._has_cni(),
            control_plane=control_plane,
        )

    def _addresses(self, node: NodeRegistration, hostname: str) -> tuple[tuple[str, str], ...]:
        own = node.argument("node-ip") or self._boot.hardware.address
        others = tuple(
            pair for pair in self._boot.hardware.addresses if pair[0] not in ("InternalIP", "Hostname")
        )
        return (("InternalIP", own), *others, ("Hostname", hostname))

    def _has_cni(self) -> bool:
        tree = self._boot.tree
        if tree.get(CNI_FOLDER) is None:
            return False
        names = tree.listdir(tree.resolve(CNI_FOLDER))
        return any(posixpath.splitext(name)[1] in (".conf", ".conflist", ".json") for name in names)


def _pairs(text: str) -> list[tuple[str, str]]:
    found = [part.partition("=") for part in text.split(",") if part]
    return [(key, value) for key, _, value in found]


def _pin(ca: bytes) -> str:
    """The CA's pin; an authority that kubeadm would have made for itself is pinned by nobody."""
    return Authority(ca, b"").pin if ca else "sha256:made-by-kubeadm"
