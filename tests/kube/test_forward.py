"""Forwarding a port through the API, to a server that does what the API server and a kubelet together do.

Its WebSocket frames are made and read here by hand (RFC 6455, section 5), its channels as the kubelets' source has
them; nothing of it comes from the library that is judged.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from flatyard.base.world import RealWorld
from flatyard.kube.api import ApiError, Unreachable
from flatyard.kube.client import Access, HttpApi
from flatyard.kube.etcd import EtcdRefused, EtcdSilent, NoQuorum
from flatyard.kube.etcd_client import HttpEtcd, Straight, Through
from flatyard.pki.keys import new_authority
from kube.etcd_gateway import Etcd, listening

WORLD = RealWorld()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
TWO = {"members": [{"ID": "1", "name": "cp-1"}, {"ID": "2", "name": "cp-2"}]}


def frame(kind: int, payload: bytes, *, last: bool = True) -> bytes:
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    return bytes([(0x80 if last else 0) | kind]) + length + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    assert second & 0x80, "a client masks each frame"
    length = second & 0x7F
    if length > 125:
        size = 2 if length == 126 else 8
        length = int.from_bytes(await reader.readexactly(size), "big")
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))


@dataclass
class Cluster:
    """An API at which each pod in `pods` forwards to a port of this machine."""

    pods: dict[str, int]
    says: dict[str, str] = field(default_factory=dict)
    """Pods that forward nothing, and what their kubelet says on the channel of failures."""
    hangs: tuple[str, ...] = ()
    """Pods whose node does not answer."""
    asked: list[str] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    pings: bool = False
    pieces: int = 30_000

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            url = urlsplit(head[0].split()[1])
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
            status, text = self.refusal(url.path, parse_qs(url.query), headers)
            pod = url.path.split("/")[-2]
            self.asked.append(pod)
            if pod in self.hangs:
                await reader.read()
            if status:
                body = text.encode()
                writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
                return
            token = hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nSec-WebSocket-Accept: "
                + base64.b64encode(token)
                + b"\r\n\r\n"
            )
            await self.forward(pod, reader, writer)

    def refusal(self, path: str, query: dict, headers: dict) -> tuple[int, str]:
        """As API servers and kubelets of 1.33 to 1.36 refuse: the pod, the options, then the negotiation."""
        pod = path.split("/")[-2]
        if path != f"/api/v1/namespaces/kube-system/pods/{pod}/portforward":
            return 404, "404 page not found"
        if pod not in (*self.pods, *self.says, *self.hangs):
            return 404, json.dumps({"kind": "Status", "message": f'pods "{pod}" not found'})
        if "ports" not in query:
            return 400, 'query parameter "port" is required'
        if "*/*" not in headers.get("accept", ""):
            return 406, "406: Not Acceptable"
        upgrade = headers.get("upgrade"), headers.get("connection", "").lower()
        if upgrade != ("websocket", "upgrade") or headers.get("sec-websocket-version") != "13":
            return 400, "Upgrade request required"
        if "v4.channel.k8s.io" not in headers.get("sec-websocket-protocol", ""):
            return 403, "requested protocol(s) are not supported"
        return 0, ""

    async def forward(self, pod: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = struct.pack("<H", 2379)
        writer.write(frame(BINARY, b"\x00" + port) + frame(BINARY, b"\x01" + port))
        if self.pings:
            writer.write(frame(PING, b"there?"))
        if pod in self.says:
            writer.write(frame(BINARY, b"\x01" + self.says[pod].encode()) + frame(CLOSE, b""))
            await writer.drain()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.pods[pod])
        back = asyncio.create_task(self.copy(inner, writer))
        try:
            while True:
                kind, payload = await read_frame(reader)
                if kind == PONG:
                    self.pongs.append(payload)
                elif kind == BINARY:
                    assert payload[0] == 0
                    outer.write(payload[1:])
                else:
                    return
        finally:
            outer.close()
            back.cancel()

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self.pieces):
                half = len(data) // 2
                writer.write(frame(BINARY, b"\x00" + data[:half], last=False) + frame(0, data[half:]))
        writer.write(frame(CLOSE, struct.pack(">H", 1000)))


@contextlib.asynccontextmanager
async def api_of(cluster: Cluster):
    async with listening(cluster.serve) as port, HttpApi(Access(f"http://127.0.0.1:{port}", "")) as api:
        yield api


def run(main) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


# ---- bytes


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def test_what_is_sent_comes_back_byte_for_byte_also_in_pieces():
    async def main():
        async with listening(echo) as port:
            cluster = Cluster({"p": port}, pings=True)
            async with (
                api_of(cluster) as api,
                api.forward("kube-system", "p", 2379, seconds=5) as tunnel,
            ):
                sent = bytes(range(256)) * 1000
                for start in range(0, len(sent), 64_000):
                    await tunnel.send(sent[start : start + 64_000])
                got = b""
                while len(got) < len(sent):
                    got += await tunnel.receive(1000)
                assert got == sent and cluster.pongs == [b"there?"]

    run(main)


@pytest.mark.parametrize(
    ("pod", "words"),
    [("nobody", 'pods "nobody" not found'), ("../x", "404 page not found")],
)
def test_a_refusal_has_the_words_of_whoever_refused(pod, words):
    async def main():
        async with api_of(Cluster({})) as api:
            with pytest.raises(ApiError, match=words) as told:
                async with api.forward("kube-system", pod, 2379, seconds=5):
                    pass
            assert told.value.status == 404

    run(main)


def test_a_failure_behind_the_kubelet_is_told_in_its_words():
    async def main():
        cluster = Cluster({}, says={"p": "error forwarding port 2379: connection refused"})
        async with api_of(cluster) as api:
            with pytest.raises(anyio.BrokenResourceError, match="forwarding port 2379: connection refused"):
                async with api.forward("kube-system", "p", 2379, seconds=5) as tunnel:
                    await tunnel.receive()

    run(main)


def test_a_port_that_is_closed_ends_the_tunnel():
    async def close(reader, writer):
        writer.write(b"bye")
        writer.close()

    async def main():
        async with listening(close) as port, api_of(Cluster({"p": port})) as api:
            with pytest.raises(anyio.BrokenResourceError, match="ended"):
                async with api.forward("kube-system", "p", 2379, seconds=5) as tunnel:
                    got = b""
                    while got != b"bye":
                        got += await tunnel.receive()
                    await tunnel.receive()

    run(main)


def test_bytes_for_a_tunnel_that_was_closed_meanwhile_are_not_sent():
    async def main():
        cluster = Cluster({}, says={"p": ""})
        async with api_of(cluster) as api:
            with pytest.raises(anyio.BrokenResourceError, match="ended"):
                async with api.forward("kube-system", "p", 2379, seconds=5) as tunnel:
                    with contextlib.suppress(anyio.BrokenResourceError):
                        await tunnel.receive()
                    await tunnel.send(b"hello")

    run(main)


def test_what_speaks_no_websocket_after_all_is_told():
    class Babel(Cluster):
        async def forward(self, pod, reader, writer):
            writer.write(b"\xff\xff not a frame, and not the beginning of one")
            await writer.drain()
            await reader.read()

    async def main():
        async with api_of(Babel({"p": 1})) as api:
            with pytest.raises(anyio.BrokenResourceError, match="ended"):
                async with api.forward("kube-system", "p", 2379, seconds=5) as tunnel:
                    await tunnel.receive()

    run(main)


def test_an_api_that_is_silent_or_not_there_is_unreachable_in_time():
    async def main():
        async with api_of(Cluster({}, hangs=("p",))) as api:
            with pytest.raises(Unreachable, match=r"does not answer within 0\.2 s"):
                async with api.forward("kube-system", "p", 2379, seconds=0.2):
                    pass
        async with HttpApi(Access("http://127.0.0.1:9", "")) as api:
            with pytest.raises(Unreachable, match="did not answer"):
                async with api.forward("kube-system", "p", 2379, seconds=5):
                    pass

    run(main)


# ---- etcd behind it


def etcd_on(node: str, authority, status: int = 200, body: dict = TWO) -> Etcd:
    """A member that gives one answer to everything."""
    return Etcd(node, authority, WORLD, lambda path, sent: (status, body))


@pytest.fixture(scope="module")
def authority():
    return new_authority("etcd-ca", WORLD)


@pytest.fixture(scope="module")
def tls(authority):
    client = authority.client("flatyard", (), WORLD)
    return Access("", authority.certificate.decode(), client=client).tls()


def test_members_are_listed_and_removed_through_the_api(authority, tls):
    async def main():
        etcd = etcd_on("cp-1", authority)
        async with etcd.listening() as port, api_of(Cluster({"etcd-cp-1": port})) as api:
            members = HttpEtcd([Through(api, "cp-1", tls)])
            assert [m.name for m in await members.list()] == ["cp-1", "cp-2"]
            await members.remove("2")
        assert etcd.asked == [
            ("/v3/cluster/member/list", {"linearizable": True}),
            ("/v3/cluster/member/remove", {"ID": "2"}),
        ]

    run(main)


def test_nodes_whose_etcd_is_down_or_which_are_gone_are_passed_over(authority, tls):
    async def main():
        async with etcd_on("cp-3", authority).listening() as port:
            cluster = Cluster({"etcd-cp-3": port}, says={"etcd-cp-2": "connection refused"})
            async with api_of(cluster) as api:
                members = HttpEtcd([Through(api, f"cp-{i}", tls) for i in (1, 2, 3)])
                assert len(await members.list()) == 2
            assert cluster.asked == ["etcd-cp-1", "etcd-cp-2", "etcd-cp-3"]

    run(main)


def test_a_node_that_does_not_answer_is_waited_for_beside_the_next(authority, tls, monkeypatch):
    monkeypatch.setattr("flatyard.kube.etcd_client.HEAD_START", 0.05)

    async def main():
        async with etcd_on("cp-2", authority).listening() as port:
            cluster = Cluster({"etcd-cp-2": port}, hangs=("etcd-cp-1",))
            async with api_of(cluster) as api:
                started = asyncio.get_running_loop().time()
                found = await HttpEtcd([Through(api, f"cp-{i}", tls) for i in (1, 2)]).list()
                assert len(found) == 2 and asyncio.get_running_loop().time() - started < 5

    run(main)


def test_when_nothing_answers_each_way_is_told(tls):
    async def main():
        cluster = Cluster({}, says={"etcd-cp-2": "error forwarding port 2379 to pod: connection refused"})
        async with api_of(cluster) as api:
            with pytest.raises(EtcdSilent) as told:
                await HttpEtcd([Through(api, f"cp-{i}", tls) for i in (1, 2)]).list()
        assert 'etcd on cp-1, through the Kubernetes API: pods "etcd-cp-1" not found' in told.value.why
        assert "etcd on cp-2, through the Kubernetes API: error forwarding port 2379 to" in told.value.why

    run(main)


def test_a_tunnel_that_ends_at_another_node_is_not_believed(authority, tls):
    """The certificate names the node: what forwards to somebody else is found out before anything is asked."""

    async def main():
        etcd = etcd_on("cp-9", authority)
        async with etcd.listening() as port, api_of(Cluster({"etcd-cp-1": port})) as api:
            with pytest.raises(EtcdSilent) as told:
                await HttpEtcd([Through(api, "cp-1", tls)]).list()
        assert "certificate verify failed" in told.value.why and not etcd.asked

    run(main)


def test_a_certificate_of_another_authority_opens_nothing(authority):
    async def main():
        other = new_authority("etcd-ca", WORLD).client("flatyard", (), WORLD)
        strange = Access("", authority.certificate.decode(), client=other).tls()
        etcd = etcd_on("cp-1", authority)
        async with etcd.listening() as port, api_of(Cluster({"etcd-cp-1": port})) as api:
            with pytest.raises(EtcdSilent):
                await HttpEtcd([Through(api, "cp-1", strange)]).list()
        assert not etcd.asked

    run(main)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, {"code": 14, "message": "etcdserver: no leader"}, NoQuorum),
        (400, {"code": 9, "message": "etcdserver: not enough started members"}, EtcdRefused),
    ],
)
def test_what_etcd_refuses_is_told_as_etcd_said_it(authority, tls, status, body, kind):
    async def main():
        etcd = etcd_on("cp-1", authority, status, body)
        async with etcd.listening() as port, api_of(Cluster({"etcd-cp-1": port})) as api:
            with pytest.raises(kind, match="etcd on cp-1, through the Kubernetes API: etcdserver: "):
                await HttpEtcd([Through(api, "cp-1", tls)]).remove("2")

    run(main)


def test_an_etcd_that_keeps_us_waiting_has_no_majority(authority, tls, monkeypatch):
    monkeypatch.setattr("flatyard.kube.etcd_client.SECONDS", 0.2)

    async def main():
        async def mute(reader, writer):
            with contextlib.closing(writer):
                await reader.read()

        etcd = etcd_on("cp-1", authority)
        etcd.serve = mute
        async with etcd.listening() as port, api_of(Cluster({"etcd-cp-1": port})) as api:
            with pytest.raises(NoQuorum, match=r"does not answer in 0\.2 s"):
                await HttpEtcd([Through(api, "cp-1", tls)]).list()

    run(main)


def test_without_the_api_the_members_are_asked_at_their_own_addresses(authority, tls):
    """An API that has lost etcd's majority forwards nothing, and then it is to be told that it has."""

    async def main():
        etcd = etcd_on("127.0.0.1", authority, 503, {"code": 14, "message": "etcdserver: request timed out"})
        async with etcd.listening() as port, api_of(Cluster({})) as api:
            with pytest.raises(NoQuorum, match="etcd at https://127"):
                await HttpEtcd([Through(api, "cp-1", tls)], [Straight("127.0.0.1", tls, port)]).list()

    run(main)


def test_what_a_member_remembers_is_not_asked_of_a_silent_api(authority, tls):
    async def main():
        cluster = Cluster({})
        async with etcd_on("127.0.0.1", authority).listening() as port, api_of(cluster) as api:
            members = HttpEtcd([Through(api, "cp-1", tls)], [Straight("127.0.0.1", tls, port)])
            assert len(await members.list(agreed=False)) == 2
        assert cluster.asked == []

    run(main)
