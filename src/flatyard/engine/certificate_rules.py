"""Which certificates of kubelets are approved: a decision from what is known, without a call to anybody.

A machine that joins proves by its bootstrap token which machine it is, and gets a client certificate for the node
that this machine becomes, and for no other (DESIGN §3 "Secrets"). A node then asks for a serving certificate and
gets one for its own name and the addresses that the cloud shows; what a node says of itself counts for nothing,
because the signer's authority is the API server's own. What is not approved stays pending for a person to look at;
what asks for another node's name is denied (Kubernetes, "Certificates and Certificate Signing Requests", signers
`kubernetes.io/kube-apiserver-client-kubelet` and `kubernetes.io/kubelet-serving`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from flatyard.clouds.cloud import Instance, InstanceState
from flatyard.engine.identity import attempt_of, machine_id_of
from flatyard.kube.api import Object
from flatyard.pki import GROUP, groups
from flatyard.pki.requests import KeyKind, SigningRequest, read_request

CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
NODES = "system:nodes"
NODE_USER = "system:node:"
TOKEN_USER = "system:bootstrap:"
_USAGE = {CLIENT: "client auth", SERVING: "server auth"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A CertificateSigningRequest: who asks is what the API server found out, the rest is the sender's word."""

    name: str
    signer: str
    username: str
    groups: tuple[str, ...]
    usages: tuple[str, ...]
    pem: bytes = field(repr=False)

    @property
    def by_node(self) -> str:
        """The node that asks; empty when it is none."""
        node = NODES in self.groups and self.username.startswith(NODE_USER)
        return self.username.removeprefix(NODE_USER) if node else ""

    @property
    def by_token(self) -> str:
        """The id of the bootstrap token of ours that asks; empty when it is none."""
        ours = GROUP in self.groups and self.username.startswith(TOKEN_USER)
        return self.username.removeprefix(TOKEN_USER) if ours else ""

    @property
    def by_machine(self) -> str:
        """The id, in lower case, of the machine whose token asks; empty when it is no or no single machine's."""
        found = [g.removeprefix(f"{GROUP}:") for g in self.groups if g.startswith(f"{GROUP}:")]
        return found[0] if self.by_token and len(found) == 1 else ""


@dataclass(frozen=True, slots=True)
class Token:
    """A machine's bootstrap token, as far as it is public."""

    id: str
    expired: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the machine from which a request comes.

    `node` is the Node of the name that its instance is to bear; `owners` are those names in the request that
    belong to others, each with whose it is.
    """

    machine: Object | None = None
    instance: Instance | None = None
    token: Token | None = None
    node: Object | None = None
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Approve:
    """It is what the machine may have."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """It is not approved and stays pending. `passing`: what is missing may come by itself."""

    reason: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """It asks for what is another node's."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """Somebody else decides: other signers, other tokens, and renewals, which kubeadm's binding approves."""


Refusal = Leave | Deny
Decision = Approve | Refusal | NotOurs
Rule = Callable[[Asked, SigningRequest, Known], Iterator[Refusal]]


def read_asked(object: Object) -> Asked:
    """The request in a CertificateSigningRequest; a text that is no base64 is empty."""
    spec = object.spec
    try:
        pem = base64.b64decode(str(spec.get("request") or ""), validate=True)
    except (binascii.Error, ValueError):
        pem = b""
    return Asked(
        object.name,
        str(spec.get("signerName") or ""),
        str(spec.get("username") or ""),
        tuple(spec.get("groups") or ()),
        tuple(spec.get("usages") or ()),
        pem,
    )


def ours(asked: Asked) -> bool:
    """Whether it is ours to decide."""
    return asked.signer == SERVING or (asked.signer == CLIENT and bool(asked.by_token))


def claims(asked: Asked) -> tuple[str, ...]:
    """The node names that a request speaks of; none of what cannot be read."""
    try:
        request = read_request(asked.pem)
    except ValueError:
        return ()
    return (request.common_name.removeprefix(NODE_USER), *request.dns_names)


def decide(asked: Asked, known: Known) -> Decision:
    """Decide about one request; the first rule that is broken is the reason."""
    if not ours(asked):
        return NotOurs()
    try:
        request = read_request(asked.pem)
    except ValueError as error:
        return Leave(f"the request is malformed: {error}")
    for rule in _RULES[asked.signer]:
        for refusal in rule(asked, request, known):
            return refusal
    return Approve(_approved(asked, known))


def _approved(asked: Asked, known: Known) -> str:
    assert known.machine is not None and known.instance is not None
    what = "client" if asked.signer == CLIENT else "serving"
    return f"{what} certificate of node {known.instance.node_name}, which is machine {known.machine.name}"


# ---- rules: each yields what is wrong


def _sender_is_a_node(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    if not asked.by_node:
        yield Leave(f"{asked.username or 'its sender'} is no node")


def _machine_is_alive(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    machine, instance = known.machine, known.instance
    if machine is None:
        yield Leave(f"no machine of this cluster belongs to {asked.username}", passing=True)
    elif machine.deleting:
        yield Leave(f"machine {machine.name} is being deleted")
    elif instance is None or not instance.node_name or instance.attempt != attempt_of(machine):
        yield Leave(f"machine {machine.name} has no instance yet", passing=True)
    elif instance.machine_id != machine_id_of(machine):
        yield Leave(f"instance {instance.id} is not machine {machine.name}")
    elif instance.state not in (InstanceState.PENDING, InstanceState.RUNNING):
        yield Leave(f"instance {instance.id} of machine {machine.name} is {instance.state}", passing=True)


def _subject_is_its_own(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    assert known.instance is not None
    own = known.instance.node_name
    name = request.common_name.removeprefix(NODE_USER)
    if asked.signer == SERVING and asked.by_node != own:
        yield Leave(f"instance {known.instance.id} is to be node {own}, not {asked.by_node}")
    if request.common_name != f"{NODE_USER}{own}":
        yield _foreign(name, known) or Leave(f"it asks for {request.common_name}, expected {NODE_USER}{own}")
    if request.organizations != (NODES,):
        yield Leave(f"it asks for the groups {', '.join(request.organizations) or 'none'}, not for {NODES}")


def _foreign(name: str, known: Known) -> Deny | None:
    owner = known.owners.get(name)
    return Deny(f"it asks for {name}, which is {owner}") if owner else None


def _usages_are_exact(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    needed = ["digital signature", _USAGE[asked.signer]]
    with_rsa = ["digital signature", "key encipherment", _USAGE[asked.signer]]
    allowed = (sorted(needed), sorted(with_rsa)) if request.key is KeyKind.RSA else (sorted(needed),)
    if sorted(asked.usages) not in allowed:
        yield Leave(
            f"it asks for the usages {', '.join(asked.usages) or 'none'}, not for {', '.join(needed)}"
        )


def _no_alternative_names(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    names = (*request.dns_names, *request.addresses)
    for name in names:
        yield _foreign(name, known) or Leave(f"a client certificate is not for {', '.join(names)}")


def _token_is_its_own(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    assert known.machine is not None
    name = known.machine.name
    if not all(group in asked.groups for group in groups(machine_id_of(known.machine))):
        yield Leave(f"its token is not in the group of machine {name}")
    elif known.token is None:
        yield Leave(f"machine {name} has no bootstrap token", passing=True)
    elif known.token.id != asked.by_token:
        yield Leave(f"token {asked.by_token} is not the one of machine {name}")
    elif known.token.expired:
        yield Leave(f"token {asked.by_token} of machine {name} has expired", passing=True)


def _joins_for_the_first_time(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    assert known.machine is not None
    if known.node is not None and known.machine.status.get("nodeRef"):
        yield Leave(f"machine {known.machine.name} has already joined as node {known.node.name}")


def _alternative_names_are_its_own(asked: Asked, request: SigningRequest, known: Known) -> Iterator[Refusal]:
    assert known.instance is not None
    names, addresses = own_names(known.instance)
    for name in request.dns_names:
        if name not in names:
            yield _foreign(name, known) or Leave(f"it asks for {name}, {_not_shown(known.instance)}")
    for address in request.addresses:
        if address not in addresses:
            yield Leave(f"it asks for {address}, {_not_shown(known.instance)}", passing=True)
    if not request.dns_names and not request.addresses:
        yield Leave("it is for no name and no address")


def _not_shown(instance: Instance) -> str:
    return f"which the cloud does not show for instance {instance.id}"


def own_names(instance: Instance) -> tuple[frozenset[str], frozenset[str]]:
    """The DNS names and the IP addresses that an instance's node may serve under."""
    names, addresses = [instance.node_name], []
    for _, text in instance.addresses:
        try:
            addresses.append(str(ip_address(text)))
        except ValueError:
            names.append(text)
    return frozenset(n for name in names for n in (name, name.lower())), frozenset(addresses)


_COMMON: tuple[Rule, ...] = (_machine_is_alive, _subject_is_its_own, _usages_are_exact)
_RULES: dict[str, tuple[Rule, ...]] = {
    CLIENT: (*_COMMON, _no_alternative_names, _token_is_its_own, _joins_for_the_first_time),
    SERVING: (_sender_is_a_node, *_COMMON, _alternative_names_are_its_own),
}
