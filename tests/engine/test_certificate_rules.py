"""Which kubelet certificates are approved: each rule by name, and all of them against an independent reading."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.base.world import SeededWorld
from flatyard.clouds.cloud import Instance, InstanceState, Role
from flatyard.engine.certificate_rules import (
    CLIENT,
    SERVING,
    Approve,
    Asked,
    Deny,
    Known,
    Leave,
    NotOurs,
    Token,
    claims,
    decide,
    read_asked,
)
from flatyard.kube.api import Object
from flatyard.pki import GROUP, groups
from flatyard.pki.requests import new_request
from pki.kubelet_requests import GO_RSA

WORLD = SeededWorld(1, lambda: 0.0)
ID, OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"
TOKEN = "abcdef"
OWNERS = {"w2": "the name of instance i-2", "cp-1": "another node's name"}
NODES = ("system:nodes",)
AUTHENTICATED = ("system:bootstrappers", *groups(ID), "system:authenticated")


def machine(**changes) -> Object:
    metadata = {
        "name": "prod-w1",
        "uid": "u1",
        "annotations": {"flatyard.dev/machine-id": ID, "flatyard.dev/attempt": "2"},
    }
    raw = {"kind": "Machine", "metadata": metadata, "spec": {}, "status": {}}
    return Object({**raw, **changes})


def deleting() -> Object:
    return machine(metadata={**machine().metadata, "deletionTimestamp": "2026-01-01T00:00:00Z"})


JOINED = machine(status={"nodeRef": {"name": "w1", "uid": "n1"}})
NODE = Object({"kind": "Node", "metadata": {"name": "w1", "uid": "n1"}})
INSTANCE = Instance(
    id="i-1",
    machine_id=ID,
    attempt=2,
    name="prod-w1",
    role=Role.WORKER,
    state=InstanceState.RUNNING,
    provider_id="sim:///i-1",
    node_name="w1",
    zone="",
    addresses=(
        ("InternalIP", "10.0.0.7"),
        ("ExternalIP", "2001:DB8::7"),
        ("InternalDNS", "w1.internal"),
        ("Hostname", "w1"),
    ),
)
JOINING = Known(machine(), INSTANCE, Token(TOKEN, expired=False), None, OWNERS)
RUNNING = Known(JOINED, INSTANCE, owners=OWNERS)


def client(name: str = "w1", organizations=NODES, hosts=(), **changes) -> Asked:
    pem = new_request(f"system:node:{name}", organizations, hosts, WORLD)
    usages = ("digital signature", "client auth")
    asked = Asked("csr-1", CLIENT, f"system:bootstrap:{TOKEN}", AUTHENTICATED, usages, pem)
    return replace(asked, **changes)


def serving(name: str = "w1", organizations=NODES, hosts=("w1", "10.0.0.7"), **changes) -> Asked:
    pem = new_request(f"system:node:{name}", organizations, hosts, WORLD)
    usages = ("digital signature", "server auth")
    asked = Asked("csr-2", SERVING, "system:node:w1", (*NODES, "system:authenticated"), usages, pem)
    return replace(asked, **changes)


def test_the_node_that_a_machine_is_to_become_is_approved():
    decided = decide(client(), JOINING)
    assert decided == Approve("client certificate of node w1, which is machine prod-w1")


def test_a_machine_whose_node_is_gone_may_join_again():
    assert isinstance(decide(client(), replace(JOINING, machine=JOINED)), Approve)


def test_a_node_that_registered_before_it_was_noticed_is_approved():
    assert isinstance(decide(client(), replace(JOINING, node=NODE)), Approve)


def test_a_node_may_serve_under_its_own_names_and_addresses():
    decided = decide(serving(), RUNNING)
    assert decided == Approve("serving certificate of node w1, which is machine prod-w1")
    everything = ("w1", "w1.internal", "10.0.0.7", "2001:db8::7")
    assert isinstance(decide(serving(hosts=everything), RUNNING), Approve)
    assert isinstance(decide(serving(hosts=("10.0.0.7",)), RUNNING), Approve)


def test_keys_of_rsa_may_encipher():
    here = replace(INSTANCE, node_name="a2", addresses=(("InternalIP", "10.124.0.22"), ("x", "fd00::22")))
    known, asked = replace(RUNNING, instance=here), serving(pem=GO_RSA, username="system:node:a2")
    both = ("key encipherment", "digital signature", "server auth")
    assert isinstance(decide(asked, known), Approve)
    assert isinstance(decide(replace(asked, usages=both), known), Approve)
    assert isinstance(decide(serving(usages=both), RUNNING), Leave)


NOT_OURS = {
    "another signer": client(signer="kubernetes.io/kube-apiserver-client"),
    "a renewal": client(username="system:node:w1", groups=(*NODES, "system:authenticated")),
    "a token of kubeadm's": client(groups=("system:bootstrappers:kubeadm:default-node-token",)),
    "a person": client(username="kubernetes-admin", groups=(GROUP, "system:authenticated")),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_is_not_ours_is_left_alone(name):
    assert decide(NOT_OURS[name], JOINING) == NotOurs()


def gone_instance(state: InstanceState) -> Known:
    return replace(JOINING, instance=replace(INSTANCE, state=state))


LEFT = {
    # what the machine is
    "no machine": (client(), Known(), "no machine of this cluster belongs to system:bootstrap:abcdef"),
    "machine is deleted": (client(), replace(JOINING, machine=deleting()), "is being deleted"),
    "no instance": (client(), replace(JOINING, instance=None), "has no instance yet"),
    "an earlier attempt": (
        client(),
        replace(JOINING, instance=replace(INSTANCE, attempt=1)),
        "has no instance yet",
    ),
    "nameless instance": (
        client(),
        replace(JOINING, instance=replace(INSTANCE, node_name="")),
        "has no instance yet",
    ),
    "instance terminated": (client(), gone_instance(InstanceState.TERMINATED), "is terminated"),
    "instance deleting": (client(), gone_instance(InstanceState.DELETING), "is deleting"),
    "instance broken": (client(), gone_instance(InstanceState.ERROR), "is error"),
    "instance of another": (
        client(),
        replace(JOINING, instance=replace(INSTANCE, machine_id=OTHER)),
        "instance i-1 is not machine prod-w1",
    ),
    "has joined": (client(), replace(JOINING, machine=JOINED, node=NODE), "already joined as node w1"),
    # the token
    "no token": (client(), replace(JOINING, token=None), "has no bootstrap token"),
    "token expired": (client(), replace(JOINING, token=Token(TOKEN, expired=True)), "has expired"),
    "another token": (client(), replace(JOINING, token=Token("zzzzzz", expired=False)), "is not the one of"),
    "another machine's group": (
        client(groups=("system:bootstrappers", *groups(OTHER))),
        JOINING,
        "not in the group of machine prod-w1",
    ),
    "no machine's group": (client(groups=(GROUP,)), JOINING, "not in the group of machine prod-w1"),
    # what it asks for
    "an unknown name": (client("w9"), JOINING, "asks for system:node:w9, expected system:node:w1"),
    "a name without its prefix": (
        client(pem=new_request("w1", NODES, (), WORLD)),
        JOINING,
        "asks for w1, expected system:node:w1",
    ),
    "the administrators' group": (client(organizations=("system:masters",)), JOINING, "system:masters"),
    "one group more": (client(organizations=("system:nodes", "system:masters")), JOINING, "system:masters"),
    "no group": (client(organizations=()), JOINING, "asks for the groups none"),
    "a DNS name": (client(hosts=("w1",)), JOINING, "a client certificate is not for w1"),
    "an address": (client(hosts=("10.0.0.7",)), JOINING, "a client certificate is not for 10.0.0.7"),
    "a server's usage": (client(usages=("digital signature", "server auth")), JOINING, "usages"),
    "one usage more": (client(usages=("digital signature", "client auth", "server auth")), JOINING, "usages"),
    "encipherment without RSA": (
        client(usages=("digital signature", "key encipherment", "client auth")),
        JOINING,
        "key encipherment",
    ),
    "a usage twice": (client(usages=("client auth", "client auth")), JOINING, "usages"),
    "no usage": (client(usages=()), JOINING, "asks for the usages none"),
    "no text": (client(pem=b""), JOINING, "malformed: it is not exactly one PEM block"),
    "two texts": (client(pem=client().pem + client("w2").pem), JOINING, "malformed"),
    # serving
    "serving, by a token": (
        serving(username=f"system:bootstrap:{TOKEN}", groups=AUTHENTICATED),
        JOINING,
        "is no node",
    ),
    "serving, by a node outside the group": (
        serving(groups=("system:authenticated",)),
        RUNNING,
        "is no node",
    ),
    "serving, by nobody": (serving(username=""), RUNNING, "its sender is no node"),
    "serving, unknown machine": (serving(), Known(), "no machine of this cluster belongs to system:node:w1"),
    "serving, an instance with another name": (
        serving(),
        replace(RUNNING, instance=replace(INSTANCE, node_name="w3")),
        "is to be node w3, not w1",
    ),
    "serving, an address that is not shown": (
        serving(hosts=("w1", "10.96.0.1")),
        RUNNING,
        "asks for 10.96.0.1, which the cloud does not show for instance i-1",
    ),
    "serving, an IPv4 address as IPv6": (serving(hosts=("::ffff:10.0.0.7",)), RUNNING, "does not show"),
    "serving, the endpoint's name": (
        serving(hosts=("w1", "api.prod.test")),
        RUNNING,
        "asks for api.prod.test, which the cloud does not show",
    ),
    "serving, a wildcard": (serving(hosts=("w1", "*.internal")), RUNNING, "does not show"),
    "serving, nothing": (serving(hosts=()), RUNNING, "for no name and no address"),
    "serving, a client's usage": (serving(usages=("digital signature", "client auth")), RUNNING, "usages"),
    "serving, another group": (serving(organizations=("system:masters",)), RUNNING, "system:masters"),
}


@pytest.mark.parametrize("name", LEFT)
def test_left_pending_with_a_reason(name):
    asked, known, said = LEFT[name]
    decided = decide(asked, known)
    assert isinstance(decided, Leave), decided
    assert said in decided.reason


DENIED = {
    "a client for another machine's name": (
        client("w2"),
        JOINING,
        "asks for w2, which is the name of instance i-2",
    ),
    "a client for a control plane's name": (
        client("cp-1"),
        JOINING,
        "asks for cp-1, which is another node's name",
    ),
    "a client with another's DNS name": (client(hosts=("w2",)), JOINING, "asks for w2"),
    "a server for another node's subject": (serving("w2"), RUNNING, "asks for w2"),
    "a server under another node's name": (serving(hosts=("w1", "cp-1")), RUNNING, "asks for cp-1"),
}


@pytest.mark.parametrize("name", DENIED)
def test_another_nodes_name_is_denied(name):
    asked, known, said = DENIED[name]
    decided = decide(asked, known)
    assert isinstance(decided, Deny), decided
    assert said in decided.reason


def test_what_may_pass_is_marked():
    for name in (
        "no machine",
        "no instance",
        "no token",
        "token expired",
        "serving, an address that is not shown",
    ):
        asked, known, _ = LEFT[name]
        assert decide(asked, known).passing, name
    for name in ("machine is deleted", "an unknown name", "a DNS name", "no usage", "has joined"):
        asked, known, _ = LEFT[name]
        assert not decide(asked, known).passing, name


def test_an_object_of_the_api_is_read():
    pem = client().pem
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": CLIENT,
        "username": f"system:bootstrap:{TOKEN}",
        "groups": list(AUTHENTICATED),
        "usages": ["digital signature", "client auth"],
    }
    asked = read_asked(Object({"metadata": {"name": "csr-1"}, "spec": spec}))
    assert asked == client(pem=pem)
    assert (asked.by_token, asked.by_machine, asked.by_node) == (TOKEN, ID.lower(), "")
    assert read_asked(Object({"metadata": {"name": "x"}, "spec": {"request": "%%"}})).pem == b""
    assert read_asked(Object({"metadata": {"name": "x"}})).username == ""


def test_the_names_that_a_request_speaks_of():
    assert claims(client("w7")) == ("w7",)
    assert claims(serving("w7", hosts=("a", "10.0.0.1", "b"))) == ("w7", "a", "b")
    assert claims(client(pem=b"no request")) == ()


def test_a_token_in_two_machines_groups_is_no_machines():
    assert client(groups=(*AUTHENTICATED, f"{GROUP}:{OTHER.lower()}")).by_machine == ""


# ---- the same rules, read once more and independently, over everything that can be varied


@dataclass(frozen=True)
class Case:
    """A whole situation in plain words; what is not plain is built from it."""

    signer: str
    username: str
    groups: tuple[str, ...]
    usages: tuple[str, ...]
    organizations: tuple[str, ...]
    subject: str
    hosts: tuple[str, ...]
    machine: str
    state: InstanceState
    attempt: int
    token: str
    expired: bool
    node: bool

    def asked(self) -> Asked:
        pem = new_request(self.subject, self.organizations, self.hosts, WORLD)
        return Asked("csr", self.signer, self.username, self.groups, self.usages, pem)

    def known(self) -> Known:
        machines = {"joining": machine(), "joined": JOINED, "deleting": deleting(), "none": None}
        instance = replace(INSTANCE, state=self.state, attempt=self.attempt)
        token = Token(self.token, self.expired) if self.token else None
        return Known(machines[self.machine], instance, token, NODE if self.node else None, OWNERS)

    def may(self) -> bool:
        """Whether the certificate is this machine's own: by sets, where the rules go by steps."""
        alive = self.state in {InstanceState.RUNNING, InstanceState.PENDING} and self.attempt == 2
        present = self.machine in {"joining", "joined"} and alive
        itself = (self.subject, self.organizations) == ("system:node:w1", ("system:nodes",))
        usage = {"client": "client auth", "serving": "server auth"}[self.kind()] if self.kind() else ""
        exact = len(self.usages) == 2 and set(self.usages) == {"digital signature", usage}
        return present and itself and exact and (self.joins() if self.kind() == "client" else self.serves())

    def kind(self) -> str:
        return {CLIENT: "client", SERVING: "serving"}.get(self.signer, "")

    def joins(self) -> bool:
        by_token = bool(self.token) and self.username == f"system:bootstrap:{self.token}" and not self.expired
        mine = {"system:bootstrappers:flatyard", f"system:bootstrappers:flatyard:{ID.lower()}"}
        fresh = self.machine == "joining" or not self.node
        return by_token and mine <= set(self.groups) and not self.hosts and fresh

    def serves(self) -> bool:
        own = {"w1", "w1.internal", "10.0.0.7", "2001:db8::7"}
        by_node = self.username == "system:node:w1" and "system:nodes" in self.groups
        return self.kind() == "serving" and by_node and bool(self.hosts) and set(self.hosts) <= own


GOOD = {
    CLIENT: Case(
        CLIENT, "system:bootstrap:abcdef", AUTHENTICATED, ("digital signature", "client auth"), NODES,
        "system:node:w1", (), "joining", InstanceState.RUNNING, 2, "abcdef", False, False,
    ),
    SERVING: Case(
        SERVING, "system:node:w1", NODES, ("digital signature", "server auth"), NODES,
        "system:node:w1", ("w1", "10.0.0.7"), "joined", InstanceState.RUNNING, 2, "", False, True,
    ),
}  # fmt: skip


def several(*values: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=4).map(tuple)


MUTATIONS = {
    "signer": st.sampled_from((CLIENT, SERVING, "kubernetes.io/kube-apiserver-client", "")),
    "username": st.sampled_from(
        (
            "system:bootstrap:abcdef",
            "system:bootstrap:zzzzzz",
            "system:node:w1",
            "system:node:w2",
            "admin",
            "",
        )
    ),
    "groups": several(*NODES, *AUTHENTICATED, f"{GROUP}:{OTHER.lower()}", "system:masters")
    | st.permutations(AUTHENTICATED).map(tuple),
    "usages": several("digital signature", "client auth", "server auth", "key encipherment")
    | st.permutations(("digital signature", "client auth")).map(tuple)
    | st.permutations(("digital signature", "server auth")).map(tuple),
    "organizations": several("system:nodes", "system:masters"),
    "subject": st.sampled_from(("system:node:w1", "system:node:w2", "system:node:w", "w1", "system:admin")),
    "hosts": several("w1", "w1.internal", "10.0.0.7", "2001:db8::7", "w2", "api.prod.test", "10.96.0.1"),
    "machine": st.sampled_from(("joining", "joined", "deleting", "none")),
    "state": st.sampled_from(tuple(InstanceState)),
    "attempt": st.sampled_from((1, 2, 3)),
    "token": st.sampled_from(("abcdef", "zzzzzz", "")),
    "expired": st.booleans(),
    "node": st.booleans(),
}


@st.composite
def cases(draw) -> Case:
    """A good request of either kind in which up to four things are changed."""
    good = GOOD[draw(st.sampled_from((CLIENT, SERVING)))]
    changed = draw(st.sets(st.sampled_from(sorted(MUTATIONS)), max_size=4))
    return replace(good, **{name: draw(MUTATIONS[name]) for name in sorted(changed)})


@settings(max_examples=600)
@given(cases())
def test_exactly_what_a_machine_may_have_is_approved(case):
    decided = decide(case.asked(), case.known())
    assert isinstance(decided, Approve) == case.may(), (case, decided)


def test_the_oracle_knows_good_from_bad():
    assert all(case.may() for case in GOOD.values())
    assert not any(replace(case, subject="system:node:w2").may() for case in GOOD.values())
