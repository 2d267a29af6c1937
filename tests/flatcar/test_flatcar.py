"""Which Flatcar a cluster gets, and what that release can do."""

from __future__ import annotations

from datetime import date

import pytest

from flatyard.base.errors import Refused
from flatyard.flatcar import (
    CHANNELS,
    IMAGE_RULES,
    channel_of,
    contents,
    known_releases,
    newest_first,
    newest_release,
    newest_spec,
    release,
    resolve,
    version_key,
)
from flatyard.ignition.spec import STABLE

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


def test_release_data_is_the_published_one() -> None:
    found = release("4593.2.5")
    assert found is not None
    assert (found.released, found.ignition, found.spec) == ("2026-08-13", "2.24.0", "3.5.0")
    assert (found.systemd, found.kernel, found.containerd) == (257, "6.12.102", "2.1.5")
    assert release("4593.2.6") is None


@pytest.mark.parametrize(
    ("channel", "version"),
    [("stable", "4593.2.5"), ("beta", "4757.1.0"), ("alpha", "4790.0.0"), ("lts", "4081.3.10")],
)
def test_the_newest_known_release_of_a_channel(channel: str, version: str) -> None:
    assert newest_release(channel).version == version
    with pytest.raises(Refused, match="not a Flatcar channel"):
        newest_release("edge")


def test_every_row_of_the_release_data_is_whole_and_in_order() -> None:
    rows = known_releases()
    assert len(rows) > 200
    assert list(rows) == sorted(rows, key=lambda row: version_key(row.version))
    assert len({row.version for row in rows}) == len(rows)
    for row in rows:
        date.fromisoformat(row.released)
        assert row.channel in CHANNELS and row.kernel and row.systemd > 200
        assert row.spec in ("2.3.0", *STABLE)


@pytest.mark.parametrize(
    ("ignition", "spec"),
    [
        ("0.36.1", "2.3.0"),
        ("2.13.0", "3.3.0"),
        ("2.14.0", "3.3.0"),
        ("2.15.0", "3.4.0"),
        ("2.19.0", "3.4.0"),
        ("2.20.0", "3.5.0"),
        ("2.24.0", "3.5.0"),
        ("2.26.0", "3.6.0"),
        ("3.0.0", "3.6.0"),
    ],
)
def test_the_newest_specification_that_an_ignition_reads(ignition: str, spec: str) -> None:
    assert newest_spec(ignition) == spec


def test_a_release_that_came_later_has_what_the_one_before_it_has() -> None:
    assert contents("4593.2.6") == release("4593.2.5")
    assert contents("4081.3.99") == release("4081.3.10")
