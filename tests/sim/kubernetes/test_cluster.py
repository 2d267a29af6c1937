"""A simulated cluster: what is in it, who is ready, what happens to pods and nodes."""

from __future__ import annotations

import asyncio
import base64

import pytest

from flatyard.base.world import parse_stamp
from flatyard.kube import resources as r
from flatyard.kube.api import Conflict, NotFound, TooManyRequests, Unreachable
from flatyard.kube.etcd import EtcdRefused, EtcdSilent, NoQuorum
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.kubernetes import KubeadmError, read_join

JOIN = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: "api.test:6443", caCertHashes: ["sha256:pin"]}
"""


def ready(node):
    return next(c for c in node.status["conditions"] if c["type"] == "Ready")["status"]


def phases(pods):
    return sorted(pod.status.get("phase", "") for pod in pods)


def test_a_new_cluster_has_what_kubeadm_makes(play):
    async def story(bench):
        api = bench.api
        names = {}
        for resource in (r.NAMESPACES, r.CONFIGMAPS, r.SECRETS, r.DAEMON_SETS, r.DEPLOYMENTS, r.SERVICES):
            names[resource.plural] = {o.name for o in (await api.list(resource)).items}
        token = await api.get(r.SECRETS, "kube-system", "bootstrap-token-abcdef")
        return names, token, await bench.pods(), await api.get(r.NODES, "", "cp-0")

    names, token, pods, node = play(story)
    assert names["namespaces"] >= {"default", "kube-system", "kube-public", "kube-node-lease"}
    assert names["configmaps"] >= {
        "kubeadm-config",
        "cluster-info",
        "kubelet-config",
        "kube-proxy",
        "coredns",
    }
    assert names["daemonsets"] == {"kube-proxy"}
    assert names["deployments"] == {"coredns"}
    assert names["services"] == {"kubernetes", "kube-dns"}
    data = {key: base64.b64decode(value).decode() for key, value in token.raw["data"].items()}
    assert data["auth-extra-groups"] == "system:bootstrappers:flatyard"
    assert data["expiration"] == "2026-01-01T00:30:00Z"
    mirrors = [pod for pod in pods if "kubernetes.io/config.mirror" in pod.annotations]
    assert {pod.name for pod in mirrors} == {
        "etcd-cp-0",
        "kube-apiserver-cp-0",
        "kube-controller-manager-cp-0",
        "kube-scheduler-cp-0",
    }
    assert phases(pods) == ["Running"] * 7
    assert node.labels["flatyard.dev/simulated"] == "true"
    assert ready(node) == "True"


def test_uploading_again_changes_nothing(play):
    async def story(bench):
        before = (await bench.api.list(r.PODS)).resource_version
        await bench.kubernetes.upload(bench.kubelet("cp-0", control_plane=True), bench.config, b"ca")
        await asyncio.sleep(60)
        return before, (await bench.api.list(r.PODS)).resource_version

    before, after = play(story)
    assert before == after


def test_a_daemon_set_follows_the_nodes(play):
    async def story(bench):
        await bench.add("a", "b")
        on = {pod.spec["nodeName"] for pod in await bench.pods("k8s-app=kube-proxy")}
        proxy = await bench.api.get(r.DAEMON_SETS, "kube-system", "kube-proxy")
        await bench.api.delete(r.NODES, "", "b")
        bench.kubernetes.machine_stopped("b")
        await asyncio.sleep(60)
        left = {pod.spec["nodeName"] for pod in await bench.pods("k8s-app=kube-proxy")}
        return on, proxy.status, left

    on, status, left = play(story)
    assert on == {"cp-0", "a", "b"}
    assert status["numberReady"] == status["desiredNumberScheduled"] == 3
    assert left == {"cp-0", "a"}


def test_a_daemon_set_heeds_selectors_and_taints(play):
    async def story(bench):
        await bench.add("a", labels={"gpu": "yes"})
        await bench.add("b")
        spec = {"containers": [{"name": "c", "image": "gpu"}], "nodeSelector": {"gpu": "yes"}}
        await bench.api.create(
            r.DAEMON_SETS,
            {
                "metadata": {"name": "gpu", "namespace": "default"},
                "spec": {
                    "selector": {"matchLabels": {"app": "gpu"}},
                    "template": {"metadata": {"labels": {"app": "gpu"}}, "spec": spec},
                },
            },
        )
        await asyncio.sleep(30)
        first = {pod.spec["nodeName"] for pod in await bench.pods("app=gpu")}
        await bench.api.merge_patch(r.NODES, "", "b", {"metadata": {"labels": {"gpu": "yes"}}})
        await bench.api.merge_patch(r.NODES, "", "a", {"metadata": {"labels": {"gpu": None}}})
        await asyncio.sleep(60)
        return first, {pod.spec["nodeName"] for pod in await bench.pods("app=gpu")}

    assert play(story) == ({"a"}, {"b"})


def test_a_changed_daemon_set_replaces_its_pods_one_by_one(play):
    async def story(bench):
        await bench.add("a", "b")
        proxy = (await bench.api.get(r.DAEMON_SETS, "kube-system", "kube-proxy")).edit()
        proxy["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.k8s.io/kube-proxy:v1.34.4"
        await bench.api.replace(r.DAEMON_SETS, proxy)
        least = 3
        for _ in range(120):
            await asyncio.sleep(1)
            pods = await bench.pods("k8s-app=kube-proxy")
            running = [p for p in pods if p.status.get("phase") == "Running" and not p.deleting]
            least = min(least, len(running))
        return least, {p.spec["containers"][0]["image"] for p in await bench.pods("k8s-app=kube-proxy")}

    least, images = play(story)
    assert least == 2
    assert images == {"registry.k8s.io/kube-proxy:v1.34.4"}


def test_pods_of_a_deployment_are_spread_and_replaced(play):
    async def story(bench):
        await bench.add("a", "b", "c")
        await bench.deployment("web", 6)
        where = sorted(pod.spec["nodeName"] for pod in await bench.pods("app=web"))
        victim = (await bench.pods("app=web"))[0]
        await bench.api.delete(r.PODS, "default", victim.name)
        await asyncio.sleep(60)
        pods = await bench.pods("app=web")
        await bench.api.scale(r.DEPLOYMENTS, "default", "web", 2)
        await asyncio.sleep(60)
        deployment = await bench.api.get(r.DEPLOYMENTS, "default", "web")
        return where, victim.name, pods, await bench.pods("app=web"), deployment

    where, victim, pods, scaled, deployment = play(story)
    assert where == ["a", "a", "b", "b", "c", "c"]
    assert phases(pods) == ["Running"] * 6
    assert victim not in {pod.name for pod in pods}
    assert len({pod.status["podIP"] for pod in pods}) == 6
    assert len(scaled) == 2
    assert deployment.status["readyReplicas"] == 2
    assert deployment.status["conditions"][0]["reason"] == "MinimumReplicasAvailable"


def test_a_changed_deployment_rolls_without_going_below_its_floor(play):
    async def story(bench):
        await bench.add("a", "b")
        await bench.deployment("web", 4)
        changed = (await bench.api.get(r.DEPLOYMENTS, "default", "web")).edit()
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
        await bench.api.replace(r.DEPLOYMENTS, changed)
        least, most = 4, 4
        for _ in range(120):
            await asyncio.sleep(1)
            pods = [p for p in await bench.pods("app=web") if not p.deleting]
            least = min(least, sum(1 for p in pods if p.status.get("phase") == "Running"))
            most = max(most, len(pods))
        sets = (await bench.api.list(r.REPLICA_SETS, "default")).items
        images = {p.spec["containers"][0]["image"] for p in await bench.pods("app=web")}
        return least, most, images, sorted(s.spec["replicas"] for s in sets)

    least, most, images, replicas = play(story)
    assert least >= 3
    assert most <= 5
    assert images == {"nginx:2"}
    assert replicas == [0, 4]


def test_a_pod_that_fits_nowhere_waits_and_says_why(play):
    async def story(bench):
        await bench.deployment("web", 1)
        before = (await bench.pods("app=web"))[0]
        await bench.add("a")
        return before, (await bench.pods("app=web"))[0]

    before, after = play(story)
    assert before.status["phase"] == "Pending"
    assert before.status["conditions"][0]["message"] == (
        "0/1 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }."
    )
    assert after.spec["nodeName"] == "a"
    assert after.status["phase"] == "Running"


def test_a_cordoned_node_gets_no_new_pods_and_an_uncordoned_one_does(play):
    async def story(bench):
        await bench.add("a", "b")
        await bench.api.merge_patch(r.NODES, "", "a", {"spec": {"unschedulable": True}})
        await bench.deployment("web", 4)
        where = {pod.spec["nodeName"] for pod in await bench.pods("app=web")}
        taints = (await bench.api.get(r.NODES, "", "a")).spec["taints"]
        await bench.api.merge_patch(r.NODES, "", "a", {"spec": {"unschedulable": None}})
        await asyncio.sleep(5)
        return where, [t["key"] for t in taints], (await bench.api.get(r.NODES, "", "a")).spec.get("taints")

    where, taints, after = play(story)
    assert where == {"b"}
    assert taints == ["node.kubernetes.io/unschedulable"]
    assert after is None


def test_a_budget_guards_evictions(play):
    async def story(bench):
        await bench.add("a", "b")
        await bench.deployment("web", 2)
        await bench.api.create(
            r.POD_DISRUPTION_BUDGETS,
            {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
            },
        )
        first, second = await bench.pods("app=web")
        await bench.api.evict("default", first.name)
        with pytest.raises(TooManyRequests):
            await bench.api.evict("default", second.name)
        await asyncio.sleep(60)
        await bench.api.evict("default", second.name)
        await asyncio.sleep(60)
        return {first.name, second.name}, {pod.name for pod in await bench.pods("app=web")}

    before, after = play(story)
    assert len(after) == 2
    assert not before & after


def test_a_deleted_pod_has_its_grace(play):
    async def story(bench):
        await bench.add("a")
        await bench.deployment("web", 1, terminationGracePeriodSeconds=30)
        pod = (await bench.pods("app=web"))[0]
        await bench.api.delete(r.PODS, "default", pod.name)
        ending = (await bench.api.get(r.PODS, "default", pod.name)).deleting
        await asyncio.sleep(30)
        with pytest.raises(NotFound):
            await bench.api.get(r.PODS, "default", pod.name)
        return ending

    assert play(story) is True


def test_a_pod_that_is_not_to_be_restarted_succeeds(play):
    async def story(bench):
        await bench.add("a")
        spec = {"containers": [{"name": "c", "image": "job"}], "restartPolicy": "Never"}
        await bench.api.create(r.PODS, {"metadata": {"name": "once", "namespace": "default"}, "spec": spec})
        await asyncio.sleep(120)
        return (await bench.api.get(r.PODS, "default", "once")).status["phase"]

    assert play(story) == "Succeeded"


def test_pods_of_a_silent_node_move_after_five_minutes(play):
    async def story(bench):
        await bench.add("a", "b")
        await bench.deployment("web", 2)
        bench.kubernetes.machine_stopped("a")
        await asyncio.sleep(60)
        soon = {p.spec["nodeName"]: p for p in await bench.pods("app=web")}
        condition = next(c for c in soon["a"].status["conditions"] if c["type"] == "Ready")
        await asyncio.sleep(400)
        later = await bench.pods("app=web")
        living = [p.spec["nodeName"] for p in later if not p.deleting]
        stuck = [p.spec["nodeName"] for p in later if p.deleting]
        await bench.api.delete(r.NODES, "", "a")
        await asyncio.sleep(60)
        return condition, living, stuck, await bench.pods("app=web")

    condition, living, stuck, after = play(story)
    assert (condition["status"], condition["reason"]) == ("False", "NodeNotReady")
    assert living == ["b", "b"]
    assert stuck == ["a"]
    assert [p.spec["nodeName"] for p in after] == ["b", "b"]


def test_a_node_that_was_deleted_comes_back_only_with_its_kubelet(play):
    async def story(bench):
        await bench.add("a")
        await bench.api.delete(r.NODES, "", "a")
        await asyncio.sleep(600)
        gone = {n.name for n in (await bench.api.list(r.NODES)).items}
        bench.kubernetes.machine_stopped("a")
        await bench.add("a")
        return gone, {n.name for n in (await bench.api.list(r.NODES)).items}

    assert play(story) == ({"cp-0"}, {"cp-0", "a"})


def test_a_deleted_mirror_pod_is_made_again(play):
    async def story(bench):
        await bench.api.delete(r.PODS, "kube-system", "etcd-cp-0")
        await asyncio.sleep(60)
        return (await bench.api.get(r.PODS, "kube-system", "etcd-cp-0")).status["phase"]

    assert play(story) == "Running"


def test_nodes_beyond_the_pod_network_say_so(play):
    text = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.34.3
networking: {podSubnet: 10.244.0.0/22}
"""

    async def story(bench):
        await bench.add("a", "b", "c", "d", cni_configured=False)
        nodes = (await bench.api.list(r.NODES)).items
        return {n.name: n.spec.get("podCIDR") for n in nodes}, nodes[-1].status["conditions"][-1]

    cidrs, condition = play(story, text=text)
    assert cidrs == {
        "cp-0": "10.244.0.0/24",
        "a": "10.244.1.0/24",
        "b": "10.244.2.0/24",
        "c": "10.244.3.0/24",
        "d": None,
    }
    assert condition["status"] == "False"
    assert "no podCIDR left" in condition["message"]


def test_a_node_lease_is_fresh_while_its_kubelet_runs(play):
    async def story(bench):
        await bench.add("a")
        await bench.api.delete(r.SECRETS, "kube-system", "bootstrap-token-abcdef")
        versions = [(await bench.api.list(r.LEASES)).resource_version]
        await asyncio.sleep(3600)
        versions.append((await bench.api.list(r.LEASES)).resource_version)
        lease = await bench.api.get(r.LEASES, "kube-node-lease", "a")
        fresh = bench.world.age(parse_stamp(lease.spec["renewTime"]))
        bench.kubernetes.machine_stopped("a")
        await asyncio.sleep(3600)
        lease = await bench.api.get(r.LEASES, "kube-node-lease", "a")
        return versions, fresh, bench.world.age(parse_stamp(lease.spec["renewTime"]))

    versions, fresh, stale = play(story)
    assert versions[0] == versions[1]  # no heartbeat was written in an hour
    assert fresh <= 10
    assert stale >= 3600


def test_expired_tokens_are_removed_and_extended_ones_kept(play):
    async def story(bench):
        await asyncio.sleep(20 * 60)
        stamp = base64.b64encode(b"2026-01-01T01:00:00Z").decode()
        await bench.api.merge_patch(
            r.SECRETS, "kube-system", "bootstrap-token-abcdef", {"data": {"expiration": stamp}}
        )
        await asyncio.sleep(20 * 60)
        kept = (await bench.api.get(r.SECRETS, "kube-system", "bootstrap-token-abcdef")).name
        await asyncio.sleep(25 * 60)
        with pytest.raises(NotFound):
            await bench.api.get(r.SECRETS, "kube-system", "bootstrap-token-abcdef")
        return kept

    assert play(story) == "bootstrap-token-abcdef"


@pytest.mark.parametrize(
    ("change", "version", "said"),
    [
        (lambda text: text, "v1.34.3", ""),
        (lambda text: text.replace("abcdef.", "abcdee."), "v1.34.3", "JWS signature"),
        (lambda text: text.replace("0123456789abcdef", "0123456789abcdee"), "v1.34.3", "JWS signature"),
        (lambda text: text.replace("sha256:pin", "sha256:other"), "v1.34.3", "not pinned"),
        (lambda text: text, "v1.35.0", "higher than the control plane version"),
        (lambda text: text, "v1.36.0", "only supports deploying clusters"),
    ],
)
def test_who_may_join(play, change, version, said):
    async def story(bench):
        try:
            bench.kubernetes.discover(read_join(change(JOIN)), version)
        except KubeadmError as problem:
            return problem.message
        return ""

    message = play(story)
    assert said in message
    assert bool(said) == bool(message)


def test_a_token_without_the_right_to_log_in_stops_at_the_kubelet(play):
    async def story(bench):
        data = {"usage-bootstrap-authentication": base64.b64encode(b"false").decode()}
        await bench.api.merge_patch(r.SECRETS, "kube-system", "bootstrap-token-abcdef", {"data": data})
        join = read_join(JOIN)
        bench.kubernetes.discover(join, "v1.34.3")
        with pytest.raises(KubeadmError, match="Unauthorized"):
            await bench.kubernetes.log_in(join, bench.kubelet("w1"))

    play(story)


async def remove(bench, name):
    etcd = bench.kubernetes.etcd()
    members = {m.name: m.id for m in await etcd.list(agreed=False)}
    await etcd.remove(members[name])


def test_no_answer_before_the_cluster_exists_and_none_without_a_quorum(play):
    async def story(bench):
        await bench.kubernetes.start()
        with pytest.raises(Unreachable, match="no control plane has been initialised"):
            await bench.api.list(r.NODES)
        await bench.begin()
        for name in ("cp-1", "cp-2"):
            bench.kubernetes.kubelet_started(bench.kubelet(name, control_plane=True))
            bench.kubernetes.add_member(name)
        await asyncio.sleep(1)
        bench.kubernetes.machine_stopped("cp-1")
        await bench.api.list(r.NODES)
        await remove(bench, "cp-1")
        bench.kubernetes.machine_stopped("cp-2")
        with pytest.raises(Unreachable, match="1 of 2 etcd members run"):
            await bench.api.list(r.NODES)
        with pytest.raises(NoQuorum, match="1 of 2 etcd members run"):
            await remove(bench, "cp-2")
        bench.kubernetes.control_plane_started("cp-2")
        await asyncio.sleep(1)
        return [n.name for n in (await bench.api.list(r.NODES)).items]

    assert play(story, begin=False) == ["cp-0", "cp-1", "cp-2"]


def test_a_member_does_not_join_a_sick_etcd(play):
    async def story(bench):
        bench.kubernetes.add_member("cp-1")
        bench.kubernetes.add_member("cp-2")
        bench.kubernetes.check_etcd()
        bench.kubernetes.machine_stopped("cp-2")
        with pytest.raises(
            KubeadmError, match="etcd cluster is not healthy: failed to dial the member on cp-2"
        ):
            bench.kubernetes.check_etcd()

    play(story)


def test_a_member_learns_before_it_votes_and_one_at_a_time(play):
    async def story(bench):
        etcd = bench.kubernetes.etcd()
        bench.kubernetes.add_learner("cp-1", "192.168.1.2")
        learner = next(m for m in await etcd.list() if m.learner)
        assert (learner.name, learner.peer_urls) == ("", ("https://192.168.1.2:2380",))
        assert bench.kubernetes.state.members == ("cp-0",), "a learner has no vote"
        bench.kubernetes.check_etcd()
        with pytest.raises(KubeadmError, match="too many learner members"):
            bench.kubernetes.add_learner("cp-2", "192.168.1.3")
        bench.kubernetes.add_member("cp-1", "192.168.1.2")
        bench.kubernetes.add_learner("cp-2", "192.168.1.3")
        return [(m.name, m.learner) for m in await etcd.list()]

    assert play(story) == [("", True), ("cp-0", False), ("cp-1", False)]


def test_a_member_that_comes_back_under_its_name_is_another_one(play):
    async def story(bench):
        etcd = bench.kubernetes.etcd()
        bench.kubernetes.add_member("cp-1", "192.168.1.2")
        bench.kubernetes.add_member("cp-2", "192.168.1.3")
        first = {m.name: m.id for m in await etcd.list()}
        await remove(bench, "cp-1")
        await etcd.remove(first["cp-1"])
        bench.kubernetes.add_member("cp-1", "192.168.1.2")
        second = {m.name: m.id for m in await etcd.list()}
        assert first["cp-0"] == second["cp-0"] and first["cp-1"] != second["cp-1"]

    play(story)


def test_etcd_refuses_a_removal_that_would_end_its_majority(play):
    async def story(bench):
        bench.kubernetes.add_member("cp-1")
        bench.kubernetes.add_member("cp-2")
        bench.kubernetes.machine_stopped("cp-2")
        with pytest.raises(EtcdRefused, match="not enough started members"):
            await remove(bench, "cp-1")
        await remove(bench, "cp-2")
        await remove(bench, "cp-1")
        with pytest.raises(EtcdRefused):
            await remove(bench, "cp-0")
        bench.kubernetes.machine_stopped("cp-0")
        with pytest.raises(EtcdSilent):
            await bench.kubernetes.etcd().list(agreed=False)

    play(story)


def test_a_cluster_goes_on_where_its_disk_says(play):
    disk = MemoryDisk()

    async def first(bench):
        await bench.add("a")
        await bench.deployment("web", 2)
        return {(p.name, p.uid, p.resource_version) for p in await bench.pods()}

    async def second(bench):
        await bench.kubernetes.start()
        for name in ("cp-0", "a"):
            bench.kubernetes.kubelet_started(bench.kubelet(name, control_plane=name == "cp-0"))
        bench.kubernetes.control_plane_started("cp-0")
        await asyncio.sleep(300)
        pods = {(p.name, p.uid, p.resource_version) for p in await bench.pods()}
        await bench.api.delete(r.PODS, "default", sorted(n for n, _, _ in pods if n.startswith("web"))[0])
        await asyncio.sleep(60)
        return pods, phases(await bench.pods("app=web"))

    before = play(first, disk=disk)
    after, web = play(second, disk=disk, begin=False)
    assert before == after
    assert web == ["Running", "Running"]


def test_the_control_plane_notices_a_lost_race_by_conflict(play):
    async def story(bench):
        node = (await bench.api.get(r.NODES, "", "cp-0")).edit()
        await bench.api.merge_patch(r.NODES, "", "cp-0", {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Conflict):
            await bench.api.replace(r.NODES, node)

    play(story)


def test_an_idle_cluster_does_nothing(play):
    async def story(bench):
        await bench.add("a")
        before = (await bench.api.list(r.NODES)).resource_version
        await asyncio.sleep(86_400 * 3)
        return before, (await bench.api.list(r.NODES)).resource_version

    async def without_token(bench):
        await bench.api.delete(r.SECRETS, "kube-system", "bootstrap-token-abcdef")
        return await story(bench)

    before, after = play(without_token)
    assert before == after
