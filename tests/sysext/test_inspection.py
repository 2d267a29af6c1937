"""Looking into images: golden ones of three compressors (golden/make says how), and whatever a disk made of them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.base.errors import Failed, Severity
from flatyard.sysext import extension_release
from flatyard.sysext.inspection import Inspection, inspect
from flatyard.sysext.squashfs_read import Kind, SquashImage, Unreadable

GOLDEN = Path(__file__).parent / "golden"
KUBERNETES = GOLDEN / "kubernetes-v1.34.3-x86-64.raw"


def as_named(image: str, name: str, folder: Path) -> Path:
    shutil.copy(GOLDEN / image, folder / name)
    return folder / name


def findings(found: Inspection) -> list[str]:
    return [f"{finding.severity}: {finding.where}: {finding.what}" for finding in found.findings]


def test_a_bakerys_image_is_read_and_merges() -> None:
    found = inspect(KUBERNETES, arch="x86-64")
    assert (found.name, found.merges, found.findings) == ("kubernetes", True, ())
    assert found.versions == {"kubernetes": "v1.34.3", "kubernetes-cni": "v1.7.1"}
    assert found.release == {"ID": "_any", "ARCHITECTURE": "x86-64", "EXTENSION_RELOAD_MANAGER": "1"}
    nodes = {node.path: node for node in found.nodes}
    assert (nodes["usr/bin/kubelet"].size, nodes["usr/bin/kubelet"].mode) == (300_003, 0o755)
    assert (nodes["usr/libexec/exec"].kind, nodes["usr/libexec/exec"].target) == (
        Kind.LINK,
        "/var/kubernetes/exec",
    )
    assert {(node.uid, node.gid) for node in found.nodes} == {(0, 0)}


def test_the_bytes_of_a_file_in_several_blocks_are_whole() -> None:
    with KUBERNETES.open("rb") as file, SquashImage(file) as image:
        list(image.nodes())
        assert image.content("usr/bin/kubelet") == bytes(300_000) + b"end"
        assert image.content("usr/bin") is None
        with pytest.raises(Unreadable, match="more than 1000"):
            image.content("usr/bin/kubelet", limit=1000)


def test_another_architecture_is_told_with_a_way_out() -> None:
    found = inspect(KUBERNETES, arch="arm64")
    assert not found.merges
    assert findings(found) == [
        "error: /usr/lib/extension-release.d/extension-release.kubernetes: ARCHITECTURE: "
        "the extension is for x86-64, the machine is arm64"
    ]
    assert found.findings[0].next == "take the extension's image for arm64"


def test_another_level_of_the_same_os_is_told(tmp_path) -> None:
    found = inspect(as_named("flatcar.raw", "tool.raw", tmp_path))
    assert [finding.where.rpartition(" ")[2] for finding in found.findings] == ["SYSEXT_LEVEL"]
    assert found.findings[0].what == "the extension is for 2.0, this OS has 1.0"


def test_a_name_that_is_not_the_release_files_is_told(tmp_path) -> None:
    found = inspect(as_named("kubernetes-v1.34.3-x86-64.raw", "k8s.raw", tmp_path))
    assert "merges that only as kubernetes.raw (else: No medium found)" in findings(found)[0]
    assert found.findings[0].next.endswith("/etc/extensions/kubernetes.raw -> k8s.raw")
    assert inspect(as_named("kubernetes-v1.34.3-x86-64.raw", "kubernetes.raw", tmp_path)).merges
    lenient = inspect(as_named("lenient.raw", "any.raw", tmp_path))
    assert lenient.merges, "user.extension-release.strict=0 allows any name"


def test_a_name_that_promises_another_architecture_is_told(tmp_path) -> None:
    found = inspect(as_named("kubernetes-v1.34.3-x86-64.raw", "kubernetes-v1.34.3-arm64.raw", tmp_path))
    assert findings(found) == [
        "error: kubernetes-v1.34.3-arm64.raw: its name says arm64, its release file x86-64"
    ]


def test_a_missing_release_file_is_told() -> None:
    found = inspect(GOLDEN / "bare.raw")
    assert findings(found) == [
        "error: /usr/lib/extension-release.d/extension-release.bare: is missing, so that no node merges the image"
        " (it says: No medium found)"
    ]


def test_what_hides_other_trees_and_what_is_not_merged_is_told(tmp_path) -> None:
    found = inspect(as_named("hiding.raw", "tool.raw", tmp_path))
    assert not found.merges
    assert [(finding.severity, finding.where) for finding in found.findings] == [
        (Severity.WARNING, "/etc"),
        (Severity.WARNING, "/opt"),
        (Severity.WARNING, "/usr/pipe"),
        (Severity.ERROR, "/usr/share"),
    ]
    assert "opaque" in found.findings[3].what


def test_images_that_cannot_be_read_say_why(tmp_path) -> None:
    whole = KUBERNETES.read_bytes()
    broken = {
        "empty": (b"", "too short"),
        "html": (b"<html>" * 100, "not a squashfs image"),
        "cut": (whole[:-50], "was not fetched or copied whole"),
        "lz4": ((GOLDEN / "lz4.raw").read_bytes(), "its compressor is lz4"),
        "old": (whole[:28] + b"\x03" + whole[29:], "squashfs version 3"),
    }
    for name, (content, words) in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Failed, match=f"{name} cannot be read") as problem:
            inspect(tmp_path / name)
        assert words in problem.value.why
    with pytest.raises(Failed, match="cannot be read"):
        inspect(tmp_path / "nowhere")


@settings(max_examples=300, deadline=None)
@given(
    image=st.sampled_from(sorted(path.name for path in GOLDEN.glob("*.raw"))),
    changes=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_images_are_unreadable_or_read_and_nothing_else(image, changes) -> None:
    content = bytearray((GOLDEN / image).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    try:
        with SquashImage(io.BytesIO(content)) as found:
            for count, node in enumerate(found.nodes()):
                found.content(node.path)
                if count > 2000:
                    break
    except Unreadable:
        pass


# ---- who merges with whom

FLATCAR = {"ID": "flatcar", "SYSEXT_LEVEL": "1.0", "VERSION_ID": "4459.2.1"}


@pytest.mark.parametrize(
    ("release", "host", "fields"),
    [
        ({"ID": "_any"}, FLATCAR, []),
        ({"ID": "_any", "ARCHITECTURE": "_any"}, FLATCAR, []),
        ({"ID": "_any", "ARCHITECTURE": "arm64"}, FLATCAR, ["ARCHITECTURE"]),
        ({"ID": "flatcar", "SYSEXT_LEVEL": "1.0"}, FLATCAR, []),
        ({"ID": "flatcar", "SYSEXT_LEVEL": "1.0", "VERSION_ID": "1"}, FLATCAR, []),
        ({"ID": "flatcar", "VERSION_ID": "4459.2.1"}, FLATCAR, []),
        ({"ID": "flatcar", "VERSION_ID": "4230.2.0"}, FLATCAR, ["VERSION_ID"]),
        ({"ID": "flatcar"}, FLATCAR, ["VERSION_ID"]),
        ({"ID": "debian", "VERSION_ID": "12"}, FLATCAR, ["ID"]),
        ({}, FLATCAR, ["ID"]),
        ({"ID": "arch"}, {"ID": "arch"}, []),
        ({"ID": "debian", "SYSEXT_LEVEL": "1"}, {"ID": "debian", "VERSION_ID": "13"}, ["VERSION_ID"]),
        ({"ID": "_any", "SYSEXT_SCOPE": "initrd"}, FLATCAR, ["SYSEXT_SCOPE"]),
        ({"ID": "_any", "SYSEXT_SCOPE": "initrd system"}, FLATCAR, []),
    ],
)
def test_an_extension_fits_a_host_by_the_rules_of_systemd(release, host, fields) -> None:
    found = extension_release.mismatches(release, host, "x86-64")
    assert [mismatch.field for mismatch in found] == fields
    assert all(mismatch.what and mismatch.next for mismatch in found)


def test_release_files_are_read_as_os_release_is() -> None:
    text = '# ID=no\n\nID="flatcar"\nNAME=\'Flatcar Container Linux\'\nVERSION_ID=4459.2.1\nnonsense\nlower=1\nX="\n'
    assert extension_release.parse(text) == {
        "ID": "flatcar",
        "NAME": "Flatcar Container Linux",
        "VERSION_ID": "4459.2.1",
        "X": '"',
    }
