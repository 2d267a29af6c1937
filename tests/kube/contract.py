"""What every kube.Api must do, whatever is behind it: checks that take an Api and nothing else.

They run in namespace `default`, leave nothing behind that the next one could trip over, and wait by polling
where a real cluster's controllers need time. Nodes that they create do not exist as machines.
"""

from __future__ import annotations

import asyncio
import base64

import pytest

from flatyard.kube.api import (
    AlreadyExists,
    Api,
    Conflict,
    EventType,
    Gone,
    Invalid,
    NotFound,
    Object,
    Propagation,
    TooManyRequests,
    Verdict,
)
from flatyard.kube.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIGMAPS,
    LEASES,
    MACHINE_DEPLOYMENTS,
    MACHINES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
)
from pki.kubelet_requests import GO_CLIENT

NAMESPACE = "default"
HOLD = "flatyard.dev/hold"
REQUEST = base64.b64encode(GO_CLIENT).decode()
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def config_map(name: str, **metadata: object) -> dict:
    return {"metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "data": {"a": "1"}}


def machine(name: str, **metadata: object) -> dict:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, **metadata},
        "spec": {"versions": {"kubelet": "v1"}},
    }


def deployment(name: str) -> dict:
    labels = {"matchLabels": {"name": name}}
    template = {"metadata": {"labels": {"name": name}}, "spec": {}}
    spec = {"replicas": 1, "selector": labels, "template": template}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def pod(name: str, node: str) -> dict:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": "contract"}}
    containers = [{"name": "c", "image": "example.org/c:1"}]
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": containers}
    return {"metadata": metadata, "spec": spec}


def owned_by(owner: Object, *, blocks: bool = True) -> list[dict]:
    reference = {
        "apiVersion": owner.raw["apiVersion"],
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    return [{**reference, "controller": True, "blockOwnerDeletion": blocks}]


async def gone(api: Api, resource, name: str, namespace: str = NAMESPACE) -> bool:
    try:
        await api.get(resource, namespace, name)
    except NotFound:
        return True
    return False


async def eventually(condition) -> None:
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen")


@check
async def a_created_object_gets_its_system_fields(api: Api) -> None:
    made = await api.create(MACHINES, machine("made"))
    assert made.uid and made.resource_version and made.created and made.generation == 1
    assert (made.raw["apiVersion"], made.kind) == ("cluster.k8s.io/v1alpha1", "Machine")
    assert (await api.get(MACHINES, NAMESPACE, "made")).raw == made.raw
    await api.delete(MACHINES, NAMESPACE, "made")


@check
async def a_name_is_taken_once(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("taken"))
    with pytest.raises(AlreadyExists, match="taken"):
        await api.create(CONFIGMAPS, config_map("taken"))
    await api.delete(CONFIGMAPS, NAMESPACE, "taken")


@check
async def a_name_can_be_made_up(api: Api) -> None:
    raw = machine("")
    raw["metadata"] = {"generateName": "made-up-", "namespace": NAMESPACE}
    first, second = [await api.create(MACHINES, raw) for _ in range(2)]
    assert first.name != second.name
    assert all(o.name.startswith("made-up-") and len(o.name) == len("made-up-") + 5 for o in (first, second))
    for made in (first, second):
        await api.delete(MACHINES, NAMESPACE, made.name)


@check
async def what_is_not_there_is_not_found(api: Api) -> None:
    for resource in (CONFIGMAPS, MACHINES):
        with pytest.raises(NotFound):
            await api.get(resource, NAMESPACE, "nobody")
        with pytest.raises(NotFound):
            await api.delete(resource, NAMESPACE, "nobody")
        with pytest.raises(NotFound):
            await api.merge_patch(resource, NAMESPACE, "nobody", {})
    lost = config_map("x")
    lost["metadata"]["namespace"] = "nowhere"
    with pytest.raises(NotFound):
        await api.create(CONFIGMAPS, lost)


@check
async def a_stale_replacement_is_a_conflict(api: Api) -> None:
    old = await api.create(MACHINES, machine("stale"))
    await api.merge_patch(MACHINES, NAMESPACE, "stale", {"spec": {"x": 1}})
    with pytest.raises(Conflict):
        await api.replace(MACHINES, old.edit())
    raw = old.edit()
    del raw["metadata"]["resourceVersion"]
    with pytest.raises(Invalid):
        await api.replace(MACHINES, raw)
    await api.delete(MACHINES, NAMESPACE, "stale")


@check
async def generations_count_changes_of_the_spec(api: Api) -> None:
    made = await api.create(MACHINE_DEPLOYMENTS, deployment("counted"))
    labelled = await api.merge_patch(
        MACHINE_DEPLOYMENTS, NAMESPACE, "counted", {"metadata": {"labels": {"a": "b"}}}
    )
    assert (made.generation, labelled.generation) == (1, 1)
    raw = labelled.edit()
    raw["spec"]["replicas"], raw["status"] = 9, {"replicas": 3}
    reported = await api.replace_status(MACHINE_DEPLOYMENTS, raw)
    assert (reported.generation, reported.spec["replicas"], reported.status["replicas"]) == (1, 1, 3)
    scaled = await api.merge_patch(MACHINE_DEPLOYMENTS, NAMESPACE, "counted", {"spec": {"replicas": 2}})
    assert (scaled.generation, scaled.status["replicas"]) == (2, 3)
    await api.delete(MACHINE_DEPLOYMENTS, NAMESPACE, "counted")


@check
async def a_kind_without_status_subresource_counts_its_status_too(api: Api) -> None:
    await api.create(MACHINES, machine("plain"))
    changed = await api.merge_patch(MACHINES, NAMESPACE, "plain", {"status": {"phase": "Running"}})
    assert (changed.generation, changed.status["phase"]) == (2, "Running")
    with pytest.raises(NotFound):
        await api.replace_status(MACHINES, changed.edit())
    await api.delete(MACHINES, NAMESPACE, "plain")


@check
async def a_change_that_changes_nothing_keeps_the_version(api: Api) -> None:
    made = await api.create(CONFIGMAPS, config_map("same", labels={"a": "b"}))
    same = await api.merge_patch(CONFIGMAPS, NAMESPACE, "same", {"data": {"a": "1"}})
    assert same.resource_version == made.resource_version
    assert (await api.replace(CONFIGMAPS, same.edit())).resource_version == made.resource_version
    await api.delete(CONFIGMAPS, NAMESPACE, "same")


@check
async def a_merge_patch_removes_what_is_null(api: Api) -> None:
    await api.create(CONFIGMAPS, config_map("patched", labels={"a": "b", "c": "d"}))
    patch = {"metadata": {"labels": {"a": None}}, "data": {"b": "2"}}
    changed = await api.merge_patch(CONFIGMAPS, NAMESPACE, "patched", patch)
    assert (changed.labels, changed.raw["data"]) == ({"c": "d"}, {"a": "1", "b": "2"})
    await api.delete(CONFIGMAPS, NAMESPACE, "patched")


@check
async def a_finalizer_holds_an_object(api: Api) -> None:
    await api.create(MACHINES, machine("held", finalizers=[HOLD]))
    await api.delete(MACHINES, NAMESPACE, "held")
    held = await api.get(MACHINES, NAMESPACE, "held")
    assert held.deleting and held.generation == 2
    await api.delete(MACHINES, NAMESPACE, "held")
    with pytest.raises(Invalid):
        await api.merge_patch(
            MACHINES, NAMESPACE, "held", {"metadata": {"finalizers": [HOLD, "flatyard.dev/more"]}}
        )
    await api.merge_patch(MACHINES, NAMESPACE, "held", {"metadata": {"finalizers": None}})
    assert await gone(api, MACHINES, "held")


@check
async def a_deletion_can_insist_on_a_uid(api: Api) -> None:
    made = await api.create(CONFIGMAPS, config_map("meant"))
    with pytest.raises(Conflict):
        await api.delete(CONFIGMAPS, NAMESPACE, "meant", uid="00000000-0000-0000-0000-000000000000")
    await api.delete(CONFIGMAPS, NAMESPACE, "meant", uid=made.uid)
    assert await gone(api, CONFIGMAPS, "meant")


@check
async def what_is_owned_goes_with_its_owner(api: Api) -> None:
    owner = await api.create(MACHINE_DEPLOYMENTS, deployment("owner"))
    child = await api.create(MACHINES, machine("child", ownerReferences=owned_by(owner)))
    await api.create(CONFIGMAPS, config_map("grandchild", ownerReferences=owned_by(child)))
    await api.delete(MACHINE_DEPLOYMENTS, NAMESPACE, "owner")
    await eventually(lambda: gone(api, CONFIGMAPS, "grandchild"))
    assert await gone(api, MACHINES, "child") and await gone(api, MACHINE_DEPLOYMENTS, "owner")


@check
async def a_foreground_deletion_waits_for_what_blocks_it(api: Api) -> None:
    owner = await api.create(MACHINE_DEPLOYMENTS, deployment("waits"))
    await api.create(MACHINES, machine("blocks", finalizers=[HOLD], ownerReferences=owned_by(owner)))
    await api.delete(MACHINE_DEPLOYMENTS, NAMESPACE, "waits", propagation=Propagation.FOREGROUND)

    async def blocked_child_is_going() -> bool:
        return (await api.get(MACHINES, NAMESPACE, "blocks")).deleting

    await eventually(blocked_child_is_going)
    assert (await api.get(MACHINE_DEPLOYMENTS, NAMESPACE, "waits")).deleting
    await api.merge_patch(MACHINES, NAMESPACE, "blocks", {"metadata": {"finalizers": None}})
    await eventually(lambda: gone(api, MACHINE_DEPLOYMENTS, "waits"))


@check
async def an_orphaning_deletion_leaves_what_is_owned(api: Api) -> None:
    owner = await api.create(MACHINE_DEPLOYMENTS, deployment("leaves"))
    await api.create(MACHINES, machine("orphan", ownerReferences=owned_by(owner)))
    await api.delete(MACHINE_DEPLOYMENTS, NAMESPACE, "leaves", propagation=Propagation.ORPHAN)
    await eventually(lambda: gone(api, MACHINE_DEPLOYMENTS, "leaves"))
    assert (await api.get(MACHINES, NAMESPACE, "orphan")).controller is None
    await api.delete(MACHINES, NAMESPACE, "orphan")


@check
async def lists_are_in_order_and_selected(api: Api) -> None:
    for name, zone in (("list-b", "x"), ("list-a", "y"), ("list-c", "x")):
        await api.create(MACHINES, machine(name, labels={"zone": zone, "listed": "yes"}))

    async def names(**selectors: str) -> list[str]:
        return [item.name for item in (await api.list(MACHINES, NAMESPACE, **selectors)).items]

    assert await names(labels="listed=yes") == ["list-a", "list-b", "list-c"]
    assert await names(labels="zone in (x, z),listed") == ["list-b", "list-c"]
    assert await names(labels="listed=yes,zone!=x") == ["list-a"]
    assert await names(fields="metadata.name=list-b") == ["list-b"]
    with pytest.raises(Invalid):
        await names(fields="spec.nothing=1")
    with pytest.raises(Invalid):
        await names(labels="a in b")
    for name in ("list-a", "list-b", "list-c"):
        await api.delete(MACHINES, NAMESPACE, name)


@check
async def a_watch_goes_on_where_a_list_ended(api: Api) -> None:
    await api.create(MACHINES, machine("before", labels={"w": "1"}))
    listing = await api.list(MACHINES, labels="w=1")
    await api.create(MACHINES, machine("seen", labels={"w": "1"}))
    await api.create(MACHINES, machine("unseen", labels={"w": "2"}))
    await api.merge_patch(MACHINES, NAMESPACE, "seen", {"spec": {"x": 1}})
    await api.merge_patch(MACHINES, NAMESPACE, "seen", {"metadata": {"labels": {"w": "2"}}})
    await api.delete(MACHINES, NAMESPACE, "before")
    wanted = [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen"), ("DELETED", "before")]
    got, versions = [], [int(listing.resource_version)]
    events = api.watch(MACHINES, resource_version=listing.resource_version, labels="w=1")
    async with asyncio.timeout(10):
        async for event in events:
            versions.append(int(event.object.resource_version))
            if event.type is not EventType.BOOKMARK:
                got.append((event.type.value, event.object.name))
            if len(got) == len(wanted):
                break
    await events.aclose()
    assert got == wanted and versions == sorted(set(versions))
    for name in ("seen", "unseen"):
        await api.delete(MACHINES, NAMESPACE, name)


@check
async def a_watch_sees_what_happens_later(api: Api) -> None:
    listing = await api.list(CONFIGMAPS, NAMESPACE, fields="metadata.name=later")
    events = api.watch(
        CONFIGMAPS, NAMESPACE, resource_version=listing.resource_version, fields="metadata.name=later"
    )
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.1)
    await api.create(CONFIGMAPS, config_map("other-than-later"))
    await api.create(CONFIGMAPS, config_map("later"))
    async with asyncio.timeout(10):
        event = await waiting
    assert (event.type, event.object.name) == (EventType.ADDED, "later")
    await events.aclose()
    for name in ("later", "other-than-later"):
        await api.delete(CONFIGMAPS, NAMESPACE, name)


@check
async def a_version_that_is_forgotten_is_gone(api: Api) -> None:
    events = api.watch(MACHINES, resource_version="1")
    with pytest.raises(Gone):
        await anext(events)


@check
async def scaling_changes_the_replicas(api: Api) -> None:
    await api.create(MACHINE_DEPLOYMENTS, deployment("scaled"))
    await api.scale(MACHINE_DEPLOYMENTS, NAMESPACE, "scaled", 5)
    assert (await api.get(MACHINE_DEPLOYMENTS, NAMESPACE, "scaled")).spec["replicas"] == 5
    with pytest.raises(NotFound):
        await api.scale(MACHINES, NAMESPACE, "scaled", 1)
    await api.delete(MACHINE_DEPLOYMENTS, NAMESPACE, "scaled")


@check
async def a_budget_forbids_the_eviction_that_is_too_many(api: Api) -> None:
    await api.create(NODES, {"metadata": {"name": "contract"}})
    for name in ("evict-1", "evict-2"):
        made = await api.create(PODS, pod(name, "contract"))
        ready = [{"type": "Ready", "status": "True"}]
        await api.replace_status(PODS, {**made.edit(), "status": {"phase": "Running", "conditions": ready}})
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "contract"}}}
    await api.create(
        POD_DISRUPTION_BUDGETS, {"metadata": {"name": "contract", "namespace": NAMESPACE}, "spec": spec}
    )

    async def one_may_go() -> bool:
        budget = await api.get(POD_DISRUPTION_BUDGETS, NAMESPACE, "contract")
        return budget.status.get("disruptionsAllowed") == 1

    await eventually(one_may_go)
    assert [p.name for p in (await api.list(PODS, fields="spec.nodeName=contract")).items] == [
        "evict-1",
        "evict-2",
    ]
    await api.evict(NAMESPACE, "evict-1")
    await eventually(lambda: gone(api, PODS, "evict-1"))
    with pytest.raises(TooManyRequests) as refused:
        await api.evict(NAMESPACE, "evict-2")
    assert "contract" in refused.value.details["causes"][0]["message"]
    with pytest.raises(NotFound):
        await api.evict(NAMESPACE, "evict-1")
    await api.delete(POD_DISRUPTION_BUDGETS, NAMESPACE, "contract")
    await api.delete(PODS, NAMESPACE, "evict-2", grace_seconds=0)
    await api.delete(NODES, "", "contract")


def signing_request(name: str) -> dict:
    """A request that nobody signs, because its signer is nobody; its text was made by Go, as a kubelet's is."""
    usages = ["digital signature", "client auth"]
    spec = {"request": REQUEST, "signerName": "flatyard.dev/contract", "usages": usages}
    return {"metadata": {"name": name}, "spec": spec}


@check
async def a_certificate_request_is_approved_once(api: Api) -> None:
    asked = await api.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("approved"))
    assert "conditions" not in asked.status
    approved = await api.approve(asked, Verdict(True, "Expected", "it is that node"))
    [condition] = approved.status["conditions"]
    said = (condition["type"], condition["status"], condition["reason"], condition["message"])
    assert said == ("Approved", "True", "Expected", "it is that node")
    assert condition["lastUpdateTime"] and condition["lastTransitionTime"]
    assert (await api.approve(approved, Verdict(True, "Again", "again"))).raw == approved.raw
    with pytest.raises(Conflict):
        await api.approve(asked, Verdict(True, "Expected", "it is that node"))
    with pytest.raises(Invalid, match="mutually exclusive"):
        await api.approve(approved, Verdict(False, "Changed", "no, it is not"))
    await api.delete(CERTIFICATE_SIGNING_REQUESTS, "", "approved")


@check
async def a_certificate_request_is_denied_for_good(api: Api) -> None:
    asked = await api.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("denied"))
    denied = await api.approve(asked, Verdict(False, "OtherNode", "that name is another node's"))
    assert [c["type"] for c in denied.status["conditions"]] == ["Denied"]
    with pytest.raises(Invalid):
        await api.merge_patch(
            CERTIFICATE_SIGNING_REQUESTS, "", "denied", {"status": {"conditions": []}}, subresource="approval"
        )
    assert (await api.get(CERTIFICATE_SIGNING_REQUESTS, "", "denied")).raw == denied.raw
    await api.delete(CERTIFICATE_SIGNING_REQUESTS, "", "denied")
    with pytest.raises(NotFound):
        await api.approve(denied, Verdict(False, "OtherNode", "that name is another node's"))


@check
async def only_the_approval_approves(api: Api) -> None:
    asked = await api.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("by-status"))
    condition = {"type": "Approved", "status": "True", "reason": "Mine", "message": ""}
    with pytest.raises(Invalid):
        await api.replace_status(
            CERTIFICATE_SIGNING_REQUESTS, {**asked.edit(), "status": {"conditions": [condition]}}
        )
    changed = await api.replace(
        CERTIFICATE_SIGNING_REQUESTS, {**asked.edit(), "status": {"conditions": [condition]}}
    )
    assert "conditions" not in changed.status
    await api.delete(CERTIFICATE_SIGNING_REQUESTS, "", "by-status")


@check
async def a_lease_keeps_its_microseconds(api: Api) -> None:
    stamp = "2026-01-01T00:00:00.000001Z"
    lease = {"metadata": {"name": "contract", "namespace": NAMESPACE}, "spec": {"renewTime": stamp}}
    assert (await api.create(LEASES, lease)).spec["renewTime"] == stamp
    await api.delete(LEASES, NAMESPACE, "contract")
