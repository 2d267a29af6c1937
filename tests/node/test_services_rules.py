"""The rules of `services_script` in a real kernel: a machine, a pod on it and the network outside are namespaces.

The network outside swallows whatever it is sent, as a cloud's does with addresses that nobody has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flatyard.node import scripts
from flatyard.node.inputs import ClusterSettings

pytestmark = pytest.mark.real
NODE, POD, OUT = (f"fy-{name}-{os.getpid()}" for name in ("node", "pod", "out"))
REFUSED, SWALLOWED, CONNECTED = "ConnectionRefusedError", "TimeoutError", "connected"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7).close()
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""
LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 6443), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


def run(*words: str, text: str | None = None) -> str:
    return subprocess.run(words, check=True, text=True, capture_output=True, input=text).stdout


def within(namespace: str, *words: str, text: str | None = None) -> str:
    return run("ip", "netns", "exec", namespace, *words, text=text)


def connect(namespace: str, address: str, port: int = 443) -> str:
    """What becomes of a connection that is begun there."""
    return within(namespace, sys.executable, "-c", CONNECT, address, str(port)).strip()


class Family:
    """The addresses of one family."""

    def __init__(self, machine: str, router: str, pod: str, gateway: str, services: str, api: str) -> None:
        self.machine, self.router, self.pod, self.gateway = machine, router, pod, gateway
        self.services, self.api = services, api
        self.long = 64 if ":" in machine else 24
        self.word, self.flag = ("ip6", "-6") if ":" in machine else ("ip", "-4")

    def other(self, last: str) -> str:
        """Another address of the range."""
        return self.api[:-1] + last


FOUR = Family("192.0.2.2", "192.0.2.1", "10.244.0.2", "10.244.0.1", "10.96.0.0/12", "10.96.0.1")
SIX = Family("2001:db8::2", "2001:db8::1", "fd44::2", "fd44::1", "fd96::/108", "fd96::1")


def link(family: Family, one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    """Join two namespaces: each has (namespace, device, address)."""
    run("ip", "link", "add", one[1], "netns", one[0], "type", "veth", "peer", "name", two[1], "netns", two[0])
    for namespace, device, address in (one, two):
        more = ("nodad",) if family.word == "ip6" else ()
        within(namespace, "ip", "address", "add", f"{address}/{family.long}", "dev", device, *more)
        within(namespace, "ip", "link", "set", device, "up")


@pytest.fixture(params=[FOUR, SIX], ids=["ipv4", "ipv6"])
def family(request) -> Iterator[Family]:
    found: Family = request.param
    try:
        for namespace in (NODE, POD, OUT):
            run("ip", "netns", "add", namespace)
            within(namespace, "ip", "link", "set", "lo", "up")
        link(found, (NODE, "uplink", found.machine), (OUT, "eth0", found.router))
        link(found, (NODE, "veth0", found.gateway), (POD, "eth0", found.pod))
        within(NODE, "ip", "route", "add", "default", "via", found.router)
        within(POD, "ip", "route", "add", "default", "via", found.gateway)
        within(OUT, "ip", "route", "add", "blackhole", found.services)
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            within(NODE, "sysctl", "-qw", f"{name}=1")
            within(OUT, "sysctl", "-qw", f"{name}=1")
        within(NODE, "sh", text=script(found))
        yield found
    finally:
        for namespace in (NODE, POD, OUT):
            subprocess.run(("ip", "netns", "delete", namespace), check=False, capture_output=True)


def script(family: Family) -> str:
    cluster = ClusterSettings(
        name="c", id="1", kubernetes="v1.34.3", endpoint_host="h", services=family.services
    )
    return scripts.services_script(cluster)


def test_the_apis_address_is_refused_at_once_while_it_has_no_rule(family):
    for namespace in (NODE, POD):
        assert connect(namespace, family.api) == REFUSED


def test_without_the_rules_such_a_connection_hangs(family):
    """What the rules are for, and the proof that it is they who refuse."""
    within(NODE, "nft", "delete", "table", "inet", "flatyard")
    for namespace in (NODE, POD):
        assert connect(namespace, family.api) == SWALLOWED


def test_nothing_else_in_the_range_is_touched(family):
    """It may be a real address of the user's network: the default range is a /12."""
    for namespace in (NODE, POD):
        assert connect(namespace, family.other("2")) == SWALLOWED
        assert connect(namespace, family.api, 6443) == SWALLOWED


@pytest.mark.parametrize("kind", ["ip", "inet"])
def test_as_soon_as_kube_proxy_has_a_rule_the_api_is_reached(family, kind):
    """Its chains translate at priority -100, in tables of ip and ip6 (iptables) or inet's like."""
    table = family.word if kind == "ip" else "inet"
    to = f"[{family.machine}]:6443" if family.word == "ip6" else f"{family.machine}:6443"
    rule = f"{family.word} daddr {family.api} tcp dport 443 dnat {family.word + ' ' if kind == 'inet' else ''}to {to}"
    within(
        NODE,
        "nft",
        "-f",
        "-",
        text=f"table {table} proxy {{ chain services {{ {rule}; }}\n"
        "chain p { type nat hook prerouting priority -100; jump services; }\n"
        "chain o { type nat hook output priority -100; jump services; }\n}",
    )
    command = ("ip", "netns", "exec", NODE, sys.executable, "-c", LISTEN, family.machine)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            for namespace in (NODE, POD):
                assert connect(namespace, family.api) == CONNECTED
        finally:
            server.kill()


def test_a_pod_network_with_a_route_of_its_own_is_left_alone(family):
    """Antrea, OVN-Kubernetes and Calico's eBPF mode lead the range through a device of theirs."""
    within(NODE, "ip", "link", "add", "cni0", "type", "veth", "peer", "name", "cni1", "netns", OUT)
    within(NODE, "ip", "link", "set", "cni0", "up")
    within(OUT, "ip", "link", "set", "cni1", "up")
    within(NODE, "ip", "route", "add", family.services, "dev", "cni0")
    for namespace in (NODE, POD):
        assert connect(namespace, family.api) == SWALLOWED


def test_it_can_be_run_again(family):
    within(NODE, "sh", text=script(family))
    assert within(NODE, "nft", "list", "table", "inet", "flatyard").count("reject with tcp reset") == 1
    assert connect(POD, family.api) == REFUSED


def test_without_a_default_route_it_fails_and_changes_nothing(family):
    within(NODE, "nft", "delete", "table", "inet", "flatyard")
    within(NODE, "ip", family.flag, "route", "del", "default")
    with pytest.raises(subprocess.CalledProcessError):
        within(NODE, "sh", text=script(family))
    assert "flatyard" not in within(NODE, "nft", "list", "tables")
