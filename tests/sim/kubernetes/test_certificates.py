"""Kubelets' certificate requests in a simulated cluster: who asks, who approves, when they go."""

from __future__ import annotations

import asyncio
import base64

import pytest

from flatyard.kube import resources as r
from flatyard.kube.api import Verdict
from flatyard.kube.approval import decision
from flatyard.pki.requests import SigningRequest, read_request
from flatyard.sim.kubernetes import SimKubernetes, read_join

JOIN = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: "api.test:6443", unsafeSkipCAVerification: true}
"""
KUBELET = """---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
serverTLSBootstrap: %s
"""
SERVING, OWN = KUBELET % "true", KUBELET % "false"
OURS, KUBEADMS = "system:bootstrappers:flatyard", "system:bootstrappers:kubeadm:default-node-token"


async def requests(bench) -> list:
    return list((await bench.api.list(r.CERTIFICATE_SIGNING_REQUESTS)).items)


def read(request) -> SigningRequest:
    return read_request(base64.b64decode(request.spec["request"]))


async def asks(bench, name: str = "w1") -> str:
    return await bench.kubernetes.log_in(read_join(JOIN), bench.kubelet(name))


def test_a_joining_kubelet_asks_by_its_token(play):
    async def story(bench):
        name = await asks(bench)
        return await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)

    request = play(story, more=SERVING)
    spec = request.spec
    assert (spec["signerName"], spec["username"]) == (
        "kubernetes.io/kube-apiserver-client-kubelet",
        "system:bootstrap:abcdef",
    )
    assert spec["groups"] == [OURS, "system:bootstrappers", "system:authenticated"]
    assert spec["usages"] == ["digital signature", "client auth"]
    found = read(request)
    assert (found.common_name, found.organizations) == ("system:node:w1", ("system:nodes",))
    assert (found.dns_names, found.addresses) == ((), ())


def test_a_new_node_asks_for_a_serving_certificate_and_a_restarted_one_does_not(play):
    async def story(bench):
        addresses = (("InternalIP", "192.168.1.9"), ("InternalDNS", "w1.internal"), ("Hostname", "w1"))
        await bench.add("w1", addresses=addresses)
        bench.kubernetes.machine_stopped("w1")
        await bench.add("w1", addresses=addresses)
        return [o for o in await requests(bench) if o.spec["username"] == "system:node:w1"]

    [request] = play(story, more=SERVING)
    assert request.spec["signerName"] == "kubernetes.io/kubelet-serving"
    assert request.spec["groups"] == ["system:nodes", "system:authenticated"]
    assert request.spec["usages"] == ["digital signature", "server auth"]
    found = read(request)
    assert (found.dns_names, found.addresses) == (("w1.internal", "w1"), ("192.168.1.9",))


def test_without_server_tls_bootstrap_nodes_sign_for_themselves(play):
    async def story(bench):
        await bench.add("w1")
        return await requests(bench)

    assert play(story, more=OWN) == []


@pytest.mark.parametrize(("group", "verdict"), [(OURS, "Pending"), (KUBEADMS, "Approved")])
def test_only_kubeadms_own_group_is_approved_without_a_look(play, group, verdict):
    async def story(bench):
        name = await asks(bench)
        await asyncio.sleep(60)
        request = await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        return decision(request) or "Pending"

    assert play(story, more=SERVING, token_group=group) == verdict


def test_a_kubelet_waits_until_its_request_is_approved(play):
    async def story(bench):
        name = await asks(bench)
        waiting = asyncio.ensure_future(bench.kubernetes.approved(name))
        await asyncio.sleep(200)
        assert not waiting.done()
        assert bench.kubernetes.waiting_for(name) == f"certificate signing request {name} is not approved"
        request = await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        await bench.api.approve(request, Verdict(True, "Expected", "by hand"))
        async with asyncio.timeout(0.1):
            await waiting
            await bench.kubernetes.approved(name)

    play(story, more=SERVING)


def test_a_denied_request_is_waited_for_in_vain(play):
    async def story(bench):
        name = await asks(bench)
        request = await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        await bench.api.approve(request, Verdict(False, "OtherNode", "not yours"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await bench.kubernetes.approved(name)
        denied = bench.kubernetes.waiting_for(name)
        await bench.api.delete(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        return denied.removeprefix(f"certificate signing request {name} "), bench.kubernetes.waiting_for(name)

    denied, gone = play(story, more=SERVING)
    assert denied == "is denied, reason: OtherNode, message: not yours"
    assert gone.endswith("is gone")


def test_decided_requests_go_after_an_hour_and_others_after_a_day(play):
    async def story(bench):
        names = {"approved": await asks(bench, "w1"), "pending": await asks(bench, "w2")}
        request = await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", names["approved"])
        await bench.api.approve(request, Verdict(True, "Expected", "by hand"))
        left = []
        for hours in (0.9, 0.2, 22, 2):
            await asyncio.sleep(hours * 3600)
            present = {o.name for o in await requests(bench)}
            left.append([what for what, name in names.items() if name in present])
        return left

    assert play(story, more=OWN) == [["approved", "pending"], ["pending"], ["pending"], []]


def test_requests_outlive_the_simulation(play):
    async def story(bench):
        name = await asks(bench)
        await bench.kubernetes.stop()
        again = SimKubernetes(bench.world, bench.disk)
        await again.start()
        again.control_plane_started("cp-0")
        bench.kubernetes, bench.api = again, again.client()
        waiting = asyncio.ensure_future(again.approved(name))
        request = await bench.api.get(r.CERTIFICATE_SIGNING_REQUESTS, "", name)
        await bench.api.approve(request, Verdict(True, "Expected", "by hand"))
        async with asyncio.timeout(1):
            await waiting
        await bench.add("w1")
        asked = [o.spec["username"] for o in await requests(bench)]
        assert sorted(asked) == ["system:bootstrap:abcdef", "system:node:cp-0", "system:node:w1"]

    play(story, more=SERVING)


def test_the_configuration_is_read_as_written(play):
    async def story(bench):
        return bench.config.kubelet["serverTLSBootstrap"]

    assert play(story, more=SERVING) is True
