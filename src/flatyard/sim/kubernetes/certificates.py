"""Kubelets' certificate requests as the simulated cluster has them: who asks, who approves, when they go.

A joining kubelet asks for a client certificate by its bootstrap token and waits until somebody has approved it; a
new node asks for a serving certificate. kube-controller-manager approves by itself only for groups that a binding
allows it for, kubeadm's own among them. No certificate is made, because nothing here would present it: requests
stay `Approved` where a real cluster says `Approved,Issued` (kubelet, pkg/kubelet/certificate; kube-controller-manager,
pkg/controller/certificates/approver and cleaner, 1.34).
"""

from __future__ import annotations

import asyncio
import base64

from flatyard.kube import resources as r
from flatyard.kube.api import APPROVED, DENIED, EventType, Object, Verdict
from flatyard.kube.approval import decision, with_verdict
from flatyard.kube.shelf import Change
from flatyard.pki.requests import new_request
from flatyard.sim.kubernetes.context import Context
from flatyard.sim.kubernetes.kubelet import Kubelet
from flatyard.sim.kubernetes.tokens import Known

CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
_NODES = "system:nodes"
_ALWAYS = ("system:bootstrappers", "system:authenticated")
_SELF_APPROVED = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
_NAMES = ("Hostname", "InternalDNS", "ExternalDNS", "InternalIP", "ExternalIP")
_DECIDED_SECONDS, _PENDING_SECONDS = 3600.0, 86_400.0


class Certificates:
    """Makes the requests, approves those that kube-controller-manager would, and clears up after them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changed: dict[str, asyncio.Event] = {}
        context.work.handle({"csr": self.look, "csr-old": self.collect})

    def resume(self) -> None:
        for request in self._context.objects(r.CERTIFICATE_SIGNING_REQUESTS).values():
            self._attend(request)

    def observe(self, change: Change) -> None:
        if change.kind.resource != r.CERTIFICATE_SIGNING_REQUESTS:
            return
        if change.type is not EventType.DELETED:
            self._attend(change.object)
        if change.object.name in self._changed:
            self._changed[change.object.name].set()

    def _attend(self, request: Object) -> None:
        decided = decision(request)
        age = self._context.world.age(request.created) if request.created else 0.0
        left = (_DECIDED_SECONDS if decided else _PENDING_SECONDS) - age
        self._context.work.add("csr-old", request.name, max(left, 0.0) + 1.0)
        if not decided:
            self._context.work.add("csr", request.name)

    # ---- kubelets

    def ask_client(self, kubelet: Kubelet, token: Known) -> str:
        """A joining kubelet's request; returns its name."""
        return self._ask(kubelet, CLIENT, f"system:bootstrap:{token.id}", (*token.groups, *_ALWAYS), ())

    def ask_serving(self, kubelet: Kubelet) -> None:
        """A new node's request, where the cluster's kubelets are told to make one."""
        if self._context.serving_requests:
            hosts = tuple(dict.fromkeys(text for kind, text in kubelet.addresses if kind in _NAMES))
            user = f"system:node:{kubelet.node_name}"
            self._ask(kubelet, SERVING, user, (_NODES, _ALWAYS[1]), hosts)

    def _ask(
        self, kubelet: Kubelet, signer: str, user: str, groups: tuple[str, ...], hosts: tuple[str, ...]
    ) -> str:
        name = f"system:node:{kubelet.node_name}"
        pem = new_request(name, (_NODES,), hosts, self._context.world)
        spec = {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": ["digital signature", "client auth" if signer == CLIENT else "server auth"],
            "username": user,
            "groups": list(dict.fromkeys(groups)),
        }
        raw = {"metadata": {"generateName": "csr-"}, "spec": spec}
        return self._context.create(r.CERTIFICATE_SIGNING_REQUESTS, raw).name

    async def approved(self, name: str) -> None:
        """Wait until a request is approved; of one that is denied or gone, for ever."""
        changed = self._changed.setdefault(name, asyncio.Event())
        try:
            while self.state(name) != APPROVED:
                changed.clear()
                await changed.wait()
        finally:
            self._changed.pop(name, None)

    def state(self, name: str) -> str:
        """`Approved`, `Denied`, `Pending`, or empty when the request is gone."""
        request = self._context.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        return "" if request is None else decision(request) or "Pending"

    def waiting_for(self, name: str) -> str:
        """What a kubelet that waits in vain says about its request."""
        request = self._context.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        said = f"certificate signing request {name}"
        if request is None:
            return f"{said} is gone"
        if decision(request) == DENIED:
            why = next(c for c in request.status["conditions"] if c["type"] == DENIED)
            return f"{said} is denied, reason: {why.get('reason', '')}, message: {why.get('message', '')}"
        return f"{said} is not approved"

    # ---- kube-controller-manager

    def look(self, name: str) -> None:
        """Approve a request of a group that is bound to the role for it."""
        request = self._context.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        if request is None or decision(request) or request.spec.get("signerName") != CLIENT:
            return
        if any(group in self._trusted() for group in request.spec.get("groups") or ()):
            message = "Auto approving kubelet client certificate after SubjectAccessReview."
            raw = with_verdict(request, Verdict(True, "AutoApproved", message))
            kind = self._context.api.kind(r.CERTIFICATE_SIGNING_REQUESTS)
            self._context.api.registry.replace(kind, raw, subresource="approval")

    def _trusted(self) -> list[str]:
        """Groups whose requests for a client certificate are approved without a look."""
        bindings = self._context.objects(r.CLUSTER_ROLE_BINDINGS).values()
        return [
            str(subject.get("name"))
            for binding in bindings
            if (binding.raw.get("roleRef") or {}).get("name") == _SELF_APPROVED
            for subject in binding.raw.get("subjects") or ()
            if subject.get("kind") == "Group"
        ]

    def collect(self, name: str) -> None:
        """Remove a request that is an hour old and decided, or a day old."""
        request = self._context.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        if request is None or request.created is None:
            return
        age = self._context.world.age(request.created)
        if age >= (_DECIDED_SECONDS if decision(request) else _PENDING_SECONDS):
            self._context.remove(r.CERTIFICATE_SIGNING_REQUESTS, request)
