"""Kubernetes images: the bakery's names and definitions, pins from a feed, simulated ones told apart."""

from __future__ import annotations

import configparser
import hashlib
import re

import pytest

from flatyard.base.errors import InvalidInput, Refused
from flatyard.sysext.feed import parse_feed
from flatyard.sysext.layout import (
    BAKERY,
    NOOP_CONF,
    image_name,
    image_url,
    sums_url,
    transfer_conf,
    transfer_name,
)
from flatyard.sysext.simulated import read_simulated, simulated_feed, simulated_image
from flatyard.sysext.versions import MINORS, known, minor, sandbox_image

A, B = "a" * 64, "B" * 64
SUMS = f"""{A}  kubernetes-v1.34.10-x86-64.raw
{B} *kubernetes-v1.34.9-x86-64.raw

{A}  kubernetes-v1.33.6-arm64.raw
{A}  kubernetes-v1.34.conf
{A}  docker-28.0.4-x86-64.raw
{A}  ./kubernetes-v1.35.4-x86-64.raw
"""


def test_names_and_addresses_are_the_bakerys() -> None:
    assert image_name("v1.32.2", "amd64") == "kubernetes-v1.32.2-x86-64.raw"
    assert image_name("v1.32.2", "arm64") == "kubernetes-v1.32.2-arm64.raw"
    assert image_url("v1.32.2", "amd64") == f"{BAKERY}/kubernetes/kubernetes-v1.32.2-x86-64.raw"
    assert sums_url() == "https://extensions.flatcar.org/extensions/kubernetes/SHA256SUMS"
    with pytest.raises(Refused, match="'s390x'"):
        image_name("v1.32.2", "s390x")


def _read(conf: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(conf)
    return {section: dict(parser[section]) for section in parser.sections()}


def test_the_transfer_file_follows_one_minors_patches_into_the_link_that_nodes_have() -> None:
    assert transfer_name("v1.34.3") == "kubernetes-v1.34.conf"
    conf = _read(transfer_conf("v1.34.3", "https://mirror.example/ext"))
    assert conf["Source"] == {
        "Type": "url-file",
        "Path": "https://mirror.example/ext/kubernetes/",
        "MatchPattern": "kubernetes-v1.34.@v-%a.raw",
    }
    assert conf["Target"]["CurrentSymlink"] == "/etc/extensions/kubernetes.raw"
    assert conf["Target"]["Path"] == "/opt/extensions/kubernetes"
    assert conf["Transfer"] == {"Verify": "false"}


def test_the_noop_definition_matches_nothing() -> None:
    assert _read(NOOP_CONF)["Source"]["MatchPattern"] == "invalid@v.raw"


def test_a_feed_pins_kubernetes_images_and_passes_over_the_rest() -> None:
    feed = parse_feed(SUMS)
    assert feed.versions() == ("v1.34.9", "v1.34.10", "v1.35.4")
    assert feed.versions("arm64") == ("v1.33.6",)
    image = feed.image("v1.34.9")
    assert image.sha256 == "b" * 64 and image.url.endswith("/kubernetes/kubernetes-v1.34.9-x86-64.raw")
    assert feed.newest_patch("v1.34.3") == "v1.34.10"
    assert feed.newest_patch("v1.30.1") == "v1.30.1"


def test_an_unpinned_version_is_refused_with_what_there_is() -> None:
    with pytest.raises(Refused, match=r"no Kubernetes v1\.36\.9 image for x86-64") as error:
        parse_feed(SUMS).image("v1.36.9")
    assert "v1.34.9, v1.34.10, v1.35.4" in error.value.why


def test_bad_lines_and_contradictions_are_all_told_with_their_lines() -> None:
    text = f"{A}  kubernetes-v1.34.3-arm64.raw\nnonsense\n{A[:-1]}  x\n{B}  kubernetes-v1.34.3-arm64.raw\n"
    with pytest.raises(InvalidInput) as error:
        parse_feed(text, "sums")
    assert [str(p).split(":")[:2] for p in error.value.problems] == [
        ["sums", "2"],
        ["sums", "3"],
        ["sums", "4"],
    ]
    assert "another hash for v1.34.3 arm64" in str(error.value)


def test_four_minors_are_supported_and_others_refused() -> None:
    assert [row.name for row in MINORS] == ["v1.33", "v1.34", "v1.35", "v1.36"]
    assert minor("v1.34.99").newest == "v1.34.4"
    assert sandbox_image("v1.34.3") == "registry.k8s.io/pause:3.10.1"
    assert all(re.fullmatch(r"v1\.\d+\.\d+", version) for version in known())
    with pytest.raises(Refused, match=r"v1\.31\.0 is not supported"):
        minor("v1.31.0")


def test_simulated_images_say_so_repeat_and_hash_to_their_pin() -> None:
    feed = simulated_feed()
    assert feed.simulated and feed.versions() == known()
    for version in ("v1.34.3", "v1.36.3"):
        image = simulated_image(version, "arm64")
        assert (
            b"simulated" in image and hashlib.sha256(image).hexdigest() == feed.image(version, "arm64").sha256
        )
        contents = read_simulated(image)
        assert contents and (contents.version, contents.arch) == (version, "arm64")
        assert "kubelet" in contents.commands
    assert len({pin.sha256 for pin in feed.pins}) == len(feed.pins)
    assert simulated_feed(["v1.34.3"]).versions() == ("v1.34.3",)


@pytest.mark.parametrize(
    "image", [b"", b"hsqs", simulated_image("v1.34.3")[:-3], simulated_image("v1.34.3")[:30]]
)
def test_other_bytes_are_not_a_simulated_image(image: bytes) -> None:
    assert read_simulated(image) is None
