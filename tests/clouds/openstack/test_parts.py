"""Images by property and name, marks, ERROR in words, temporary URLs."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from openstack.compute.v2.server import Server
from openstack.image.v2.image import Image as GlanceImage
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.port import Port
from openstack.network.v2.security_group import SecurityGroup

from flatyard.clouds.cloud import ClusterRef, InstanceState
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.faults import told
from flatyard.clouds.openstack.images import read
from flatyard.clouds.openstack.inventory import _is_of
from flatyard.clouds.openstack.machines import instance
from flatyard.clouds.openstack.networks import _is_same
from flatyard.clouds.openstack.quotas import UNLIMITED, _limit
from flatyard.clouds.openstack.stash import signed

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")


@pytest.mark.parametrize(
    ("words", "wanted"),
    (
        ({"name": "FlatcarContainerLinux-3815-2-2"}, ("stable", "3815.2.2", "amd64")),
        ({"name": "flatcar-beta-4593.1.0-arm64"}, ("beta", "4593.1.0", "arm64")),
        (
            {"name": "our node", "os_distro": "flatcar", "os_version": "4593.2.5", "architecture": "aarch64"},
            ("stable", "4593.2.5", "arm64"),
        ),
        ({"name": "Ubuntu-22.04.1"}, None),
        ({"name": "flatcar"}, None),
        ({"name": "flatcar-9999.9.9"}, None),
    ),
)
def test_flatcar_is_known_by_property_or_name(
    words: dict[str, str], wanted: tuple[str, str, str] | None
) -> None:
    found = read(GlanceImage(id="1", **words))
    assert (found and (found.channel, found.image.version, found.image.arch)) == wanted


def test_a_baked_in_kubernetes_is_seen() -> None:
    found = read(GlanceImage(id="1", name="flatcar-stable-4593.2.5-kube-v1.34.3"))
    assert found is not None and found.image.kubernetes == "v1.34.3"


def test_a_description_alone_says_whose_it_is() -> None:
    port = Port(id="1", description=marks.described(REF, "M1"))
    found = marks.read(port)
    assert marks.is_of(found, REF) and found["flatyard-machine"] == "M1"
    assert len(marks.described(REF, REF.id)) <= 255
    assert all(len(label) <= 60 for label in marks.labels(REF))


def test_a_mark_without_owned_is_not_ours() -> None:
    assert not marks.is_of(marks.read(Port(description=f"flatyard-cluster={REF.id}")), REF)


def test_error_is_told_in_words() -> None:
    said = told({"message": "No valid host was found. There are not enough hosts available.", "code": 500})
    assert said.startswith("No valid host was found") and "another flavor or zone" in said
    assert told(None) == "Nova gives no reason"
    assert told({"message": "Something else"}) == "Something else"


def test_a_server_is_shown_as_its_node_will_be() -> None:
    server = Server(
        id="0b9c",
        name="Web-1",
        status="ACTIVE",
        metadata={"flatyard-machine": "M", "flatyard-attempt": "2", "flatyard-role": "control-plane"},
        addresses={
            "net": [
                {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"},
                {"addr": "203.0.113.9", "version": 4, "OS-EXT-IPS:type": "floating"},
            ]
        },
    )
    made = instance(server)
    assert (made.node_name, made.provider_id, made.attempt) == ("web-1", "openstack:///0b9c", 2)
    assert made.addresses == (
        ("InternalIP", "10.0.0.5"),
        ("ExternalIP", "203.0.113.9"),
        ("Hostname", "web-1"),
    )


@pytest.mark.parametrize(
    ("status", "task", "wanted"),
    (
        ("BUILD", None, InstanceState.PENDING),
        ("ACTIVE", "deleting", InstanceState.DELETING),
        ("SHUTOFF", None, InstanceState.STOPPED),
        ("SHELVED_OFFLOADED", None, InstanceState.STOPPED),
        ("HARD_REBOOT", None, InstanceState.RUNNING),
        ("ERROR", None, InstanceState.ERROR),
        ("SOFT_DELETED", None, InstanceState.TERMINATED),
    ),
)
def test_states(status: str, task: str | None, wanted: InstanceState) -> None:
    assert instance(Server(id="1", name="a", status=status, task_state=task)).state is wanted


def test_a_temporary_url_is_signed_as_swift_says() -> None:
    url = signed("https://s:8080/v1/AUTH_p", "flatyard-x/first-boot/m-1", "key", 1_800_000_000)
    path = "/v1/AUTH_p/flatyard-x/first-boot/m-1"
    digest = hmac.new(b"key", f"GET\n1800000000\n{path}".encode(), hashlib.sha256).hexdigest()
    assert url == f"https://s:8080{path}?temp_url_expires=1800000000&temp_url_sig={digest}"


def test_ipv4_comes_first_on_a_network_of_both() -> None:
    entries = [
        {"addr": "fd00::5", "version": 6, "OS-EXT-IPS:type": "fixed"},
        {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"},
    ]
    made = instance(Server(id="1", name="a", status="ACTIVE", addresses={"net": entries}))
    assert made.addresses[:2] == (("InternalIP", "10.0.0.5"), ("InternalIP", "fd00::5"))


def test_the_image_of_a_machine_that_boots_from_a_volume_is_in_its_metadata() -> None:
    """Nova shows no image of such a server."""
    made = instance(Server(id="1", name="a", status="ACTIVE", image="", metadata={marks.IMAGE: "the-image"}))
    assert made.image == "the-image"


def test_what_the_cloud_controller_manager_made_is_the_clusters() -> None:
    """With the API gone nobody else takes them away, and a floating IP costs."""
    words = f"Floating IP for Kubernetes external service default/web from cluster {REF.id}"
    assert _is_of("address", FloatingIP(description=words), REF)
    assert not _is_of("address", FloatingIP(description=f"{words}2"), REF)
    group = f"Security Group for default/web Service LoadBalancer in cluster {REF.id}"
    assert _is_of("security-group", SecurityGroup(description=group), REF)


def test_a_narrower_rule_does_not_stand_for_a_wide_one() -> None:
    wide = {"direction": "egress", "ether_type": "IPv4"}
    shown = {"direction": "egress", "ethertype": "IPv4", "protocol": None, "remote_ip_prefix": None}
    assert _is_same(wide, shown)
    assert not _is_same(wide, {**shown, "protocol": "tcp"})
    assert not _is_same(wide, {**shown, "remote_ip_prefix": "10.0.0.0/8"})


def test_a_quota_of_nothing_is_a_quota() -> None:
    assert (_limit(0), _limit(-1), _limit(None), _limit("7")) == (0, UNLIMITED, UNLIMITED, 7)
