"""From objects to what `status` says: what is not healthy comes first, with the most telling reason."""

from __future__ import annotations

from dataclasses import replace

from flatyard.controller.events import Event, EventKind, Journal, WaitLine
from flatyard.controller.health import view
from flatyard.controller.state import State
from flatyard.kube.api import Object
from flatyard.sim.loop import run


def machine(name: str, node: str = "", *, plane: bool = False, **status: object) -> Object:
    labels = {"node-role.kubernetes.io/control-plane": ""} if plane else {"pool": "general"}
    found = {"phase": "Running", **({"nodeRef": {"name": node}} if node else {}), **status}
    return Object({"kind": "Machine", "metadata": {"name": name, "labels": labels}, "status": found})


def node(name: str, ready: str = "True", message: str = "") -> Object:
    condition = {"type": "Ready", "status": ready, "message": message}
    return Object({"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [condition]}})


POOL = Object(
    {
        "kind": "MachineDeployment",
        "metadata": {"name": "general"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"pool": "general"}}},
    }
)
HEALTHY = State(
    name="prod",
    id="01",
    phase="running",
    twin="aws",
    region="us-east-1",
    speed=60,
    server="https://127.0.0.1:1",
    endpoint="api:6443",
    flatcar="4593.2.5",
    api=True,
    waits=(),
    clusters=(Object({"metadata": {"name": "prod"}, "spec": {"controlPlane": {"replicas": 1}}}),),
    deployments=(POOL,),
    machines=(machine("cp", "n0", plane=True), machine("w1", "n1"), machine("w2", "n2")),
    nodes=(node("n0"), node("n1"), node("n2")),
)


def why(state: State) -> dict[str, str]:
    found = view(state)
    return {m.name: m.why for pool in (found.control_plane, *found.pools) for m in pool.machines if m.why}


def test_healthy():
    found = view(HEALTHY)
    assert found.healthy
    assert [(pool.name, pool.ready, pool.wanted) for pool in found.pools] == [("general", 2, 2)]
    assert why(HEALTHY) == {}


def test_a_node_that_is_not_ready_says_why_and_comes_first():
    state = replace(HEALTHY, nodes=(node("n0"), node("n1"), node("n2", "False", "kubelet stopped")))
    assert why(state) == {"w2": "kubelet stopped"}
    assert view(state).pools[0].machines[0].name == "w2"
    assert not view(state).healthy


def test_of_a_restart_its_step_is_told_and_not_that_the_node_is_silent():
    step = WaitLine("machine/w2", "restart: instance i-1 is restarting")
    silent = (node("n0"), node("n1"), node("n2", "Unknown", "Kubelet stopped posting node status."))
    raw = HEALTHY.machines[2].edit()
    raw["metadata"]["annotations"] = {"flatyard.dev/restarting": "{}"}
    state = replace(HEALTHY, waits=(step,), nodes=silent, machines=(*HEALTHY.machines[:2], Object(raw)))
    assert why(state) == {"w2": "restart: instance i-1 is restarting"}
    assert not view(state).healthy


def test_the_error_of_a_machine_tells_more_than_its_missing_node():
    failed = machine("w2", phase="Failed", errorMessage="first boot failed: hash")
    state = replace(HEALTHY, machines=(*HEALTHY.machines[:2], failed))
    assert why(state) == {"w2": "first boot failed: hash"}


def test_a_machine_without_a_node_says_what_it_waits_for():
    waiting = (WaitLine("machine/w2", "instance i-1 is pending"),)
    state = replace(HEALTHY, machines=(*HEALTHY.machines[:2], machine("w2")), waits=waiting)
    assert why(state) == {"w2": "instance i-1 is pending"}
    assert why(replace(state, waits=())) == {"w2": "it has no node yet"}


def test_too_few_and_too_many_machines_are_not_healthy():
    assert not view(replace(HEALTHY, machines=HEALTHY.machines[:2])).healthy
    assert not view(replace(HEALTHY, machines=(*HEALTHY.machines, machine("w3", "n3")))).healthy


def test_nodes_and_machines_of_nobody_are_shown():
    stray = Object({"metadata": {"name": "x"}, "status": {}})
    found = view(replace(HEALTHY, nodes=(*HEALTHY.nodes, node("n9")), machines=(*HEALTHY.machines, stray)))
    assert found.strangers == ("n9",)
    assert [pool.name for pool in found.pools] == ["general", "machines of no pool"]


def test_no_answer_and_a_deletion_are_not_healthy():
    assert not view(replace(HEALTHY, api=False)).healthy
    assert not view(replace(HEALTHY, phase="deleting")).healthy


def test_the_state_survives_its_encoding():
    state = replace(HEALTHY, waits=(WaitLine("machine/w2", "late", True, "look"),))
    assert State.decode(state.encode()) == state


def test_an_event_survives_its_encoding():
    event = Event(EventKind.OUTCOME, 3, "now", waits=(WaitLine("machine/a", "late"),), number=7)
    assert Event.decode(event.encode()) == event
    assert not event.done


def test_a_follower_sees_its_round_from_the_start_and_goes_on():
    """Events that were added while the follower was busy with another one were lost once, and `up` hung."""

    async def follow() -> list[str]:
        journal = Journal()
        journal.add(Event(EventKind.STEP, 1, object="old"))
        journal.add(Event(EventKind.STEP, 2, object="first"))
        seen = []
        async for event in journal.follow(2):
            seen.append(event.object)
            if event.object == "first":
                journal.add(Event(EventKind.STEP, 2, object="second"))
            else:
                return seen
        return seen

    assert run(follow()) == ["first", "second"]
