"""Which Flatcar a cluster gets, and what that release can do."""

from __future__ import annotations

import pytest

from flatyard.base.errors import Refused
from flatyard.flatcar import IMAGE_RULES, channel_of, contents, newest_first, resolve

REGION = ("4593.2.5", "4459.2.3", "4757.1.0", "4790.0.0", "4081.3.10", "4593.2.10")


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("stable", "4593.2.10"), ("beta", "4757.1.0"), ("alpha", "4790.0.0"), ("lts", "4081.3.10")],
)
def test_a_channel_is_the_newest_release_that_the_region_really_has(channel: str, expected: str) -> None:
    assert resolve(REGION, channel=channel) == expected


def test_a_version_is_taken_as_it_is_and_a_missing_one_is_refused_with_what_there_is() -> None:
    assert resolve(REGION, channel="stable", version="4459.2.3") == "4459.2.3"
    with pytest.raises(Refused) as error:
        resolve(REGION, version="4593.2.6", where="eastus")
    assert str(error.value).splitlines()[:2] == [
        "Flatcar 4593.2.6 is not there in eastus",
        "  why: what is there: 4790.0.0, 4757.1.0, 4593.2.10, 4593.2.5, 4459.2.3, 4081.3.10",
    ]
    with pytest.raises(Refused, match="channel lts is not there"):
        resolve(("4593.2.5",), channel="lts")
    with pytest.raises(Refused, match="not a Flatcar channel"):
        resolve(REGION, channel="edge")


def test_versions_order_by_number() -> None:
    assert newest_first(["4593.2.5", "4593.2.10", "4593.2.5", "510.0.0"]) == (
        "4593.2.10",
        "4593.2.5",
        "510.0.0",
    )


@pytest.mark.parametrize("version", ["", "4593", "4593.2", "4593.2.x", "4593.2.5-rc1", "v1.2.3"])
def test_other_texts_are_no_versions(version: str) -> None:
    with pytest.raises(Refused, match="not a Flatcar version"):
        channel_of(version)


@pytest.mark.parametrize(
    ("version", "spec", "systemd"),
    [
        ("3602.2.0", "3.4.0", 252),
        ("4081.3.10", "3.4.0", 255),
        ("4230.2.1", "3.5.0", 256),
        ("4593.2.5", "3.5.0", 257),
        ("4790.0.0", "3.5.0", 260),
        ("9999.0.0", "3.5.0", 260),
    ],
)
def test_a_release_reads_its_ignition_specification(version: str, spec: str, systemd: int) -> None:
    assert (contents(version).spec, contents(version).systemd) == (spec, systemd)


def test_a_release_before_ignition_3_4_is_refused() -> None:
    with pytest.raises(Refused, match=r"Flatcar 3510\.2\.0 is too old"):
        contents("3510.2.0")


def test_every_rule_says_where_images_come_from() -> None:
    assert sorted(IMAGE_RULES) == ["aws", "azure", "gcp", "openstack", "vsphere"]
    assert all(bool(rule.owner) != bool(rule.download) for rule in IMAGE_RULES.values())
    assert IMAGE_RULES["azure"].skus["gen2"].format(channel="stable") == "stable-gen2"
