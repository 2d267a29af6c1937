"""Trees as values: what a folder becomes, what Kubernetes' image holds, what makes any tree an extension."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.sysext import extension_release
from flatyard.sysext.contents import (
    Copy,
    Folder,
    Link,
    Text,
    check_name,
    contents,
    machine_of,
    read_tree,
    warnings,
)
from flatyard.sysext.extension_tree import extension_contents
from flatyard.sysext.kubernetes_tree import Binaries, kubernetes_contents
from flatyard.sysext.versions import cni_version

X86, ARM = 62, 183


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(100)


def put(root: Path, path: str, content: bytes, mode: int = 0o644) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    (root / path).chmod(mode)


# ---- a folder


def test_a_folder_becomes_entries_in_an_order_of_their_own(tmp_path) -> None:
    put(tmp_path, "usr/bin/b", b"", 0o755)
    put(tmp_path, "usr/bin-more/a", b"")
    put(tmp_path, "usr/Bin", b"")
    assert list(read_tree(tmp_path).entries) == [
        "usr",
        "usr/Bin",
        "usr/bin",
        "usr/bin/b",
        "usr/bin-more",
        "usr/bin-more/a",
    ]


def test_modes_do_not_show_the_umask_that_a_tree_was_made_with(tmp_path) -> None:
    put(tmp_path, "usr/program", b"", 0o700)
    put(tmp_path, "usr/text", b"", 0o660)
    put(tmp_path, "usr/helper", b"", 0o4711)
    (tmp_path / "usr").chmod(0o2775)
    modes = {
        path: entry.mode for path, entry in read_tree(tmp_path).entries.items() if not isinstance(entry, Link)
    }
    assert modes == {"usr": 0o2755, "usr/program": 0o755, "usr/text": 0o644, "usr/helper": 0o4755}
    kept = read_tree(tmp_path, keep_modes=True).entries["usr/text"]
    assert isinstance(kept, Copy) and kept.mode == 0o660


def test_links_are_kept_and_not_followed(tmp_path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/out").symlink_to("/etc/passwd")
    (tmp_path / "usr/loop").symlink_to(".")
    entries = read_tree(tmp_path).entries
    assert entries["usr/out"] == Link("/etc/passwd") and entries["usr/loop"] == Link(".")
    assert read_tree(tmp_path).text("usr/out") is None


def test_what_an_image_cannot_hold_is_all_named(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "other")
    with pytest.raises(Refused, match="what an extension image cannot hold") as problem:
        read_tree(tmp_path)
    assert "other: neither" in problem.value.why and "pipe: neither" in problem.value.why


def test_what_lies_outside_usr_and_opt_is_warned_of_once(tmp_path) -> None:
    put(tmp_path, "etc/deep/er", b"")
    put(tmp_path, "opt/x", b"")
    put(tmp_path, "usr/x", b"")
    assert [str(problem) for problem in warnings(read_tree(tmp_path))] == [
        "warning: /etc: is not merged by a node: only /usr and /opt are"
    ]


@pytest.mark.parametrize("name", ["", "Kubernetes", "a/b", "..", ".x", "x-", "a b", "ä"])
def test_names_that_no_extension_can_have(name) -> None:
    with pytest.raises(Refused, match="is not a name for an extension"):
        check_name(name)


def test_programs_tell_their_architecture() -> None:
    assert machine_of(elf(X86)) == "x86-64" and machine_of(elf(ARM)) == "arm64"
    assert machine_of(elf(243)) == "other"
    assert machine_of(b"#!/bin/sh\nexit 0 # a script") is None and machine_of(b"\x7fELF") is None


# ---- Kubernetes


@pytest.fixture
def programs(tmp_path) -> Path:
    for name in (
        "kubeadm",
        "kubelet",
        "kubectl",
        "cni/bridge",
        "cni/host-local",
        "cni/loopback",
        "cni/portmap",
    ):
        put(tmp_path, name, elf(X86), 0o755)
    return tmp_path


def binaries(folder: Path, arch: str = "amd64") -> Binaries:
    return Binaries.in_folder(folder, version="v1.34.3", cni_version=cni_version("v1.34.3"), arch=arch)


def test_the_kubernetes_image_is_laid_out_as_the_bakery_does_it(programs) -> None:
    tree = kubernetes_contents(binaries(programs))
    plain = [path for path, entry in tree.entries.items() if not isinstance(entry, Folder)]
    units = "usr/lib/systemd/system"
    assert plain == [
        "usr/bin/kubeadm",
        "usr/bin/kubectl",
        "usr/bin/kubelet",
        "usr/lib/extension-release.d/extension-release.kubernetes",
        f"{units}/kubelet.service",
        f"{units}/kubelet.service.d/10-kubeadm.conf",
        f"{units}/multi-user.target.d/10-kubelet-service.conf",
        "usr/libexec/kubernetes/kubelet-plugins/volume/exec",
        "usr/local/bin/cni/bridge",
        "usr/local/bin/cni/host-local",
        "usr/local/bin/cni/loopback",
        "usr/local/bin/cni/portmap",
        "usr/local/share/kubernetes-cni-version",
        "usr/local/share/kubernetes-version",
    ]
    assert tree.text("usr/local/share/kubernetes-version") == b"v1.34.3\n"
    assert tree.text("usr/local/share/kubernetes-cni-version") == b"v1.9.1\n"
    assert tree.text("usr/lib/extension-release.d/extension-release.kubernetes") == (
        b"ID=_any\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\n"
    )
    assert tree.entries["usr/libexec/kubernetes/kubelet-plugins/volume/exec"] == Link(
        "/var/kubernetes/kubelet-plugins/volume/exec"
    )


def test_the_kubelet_starts_as_kubeadm_expects_it(programs) -> None:
    tree = kubernetes_contents(binaries(programs))
    folder = "usr/lib/systemd/system"
    dropin = (tree.text(f"{folder}/kubelet.service.d/10-kubeadm.conf") or b"").decode()
    lines = dropin.splitlines()
    assert "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env" in lines
    assert "EnvironmentFile=-/etc/sysconfig/kubelet" in lines
    assert lines[-2:] == [
        "ExecStart=",
        "ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS"
        " $KUBELET_EXTRA_ARGS",
    ]
    assert "ExecStartPre=/usr/bin/cp -r /usr/local/bin/cni/. /opt/cni/bin/" in lines
    assert "\\" not in dropin and all(len(line) < 200 for line in lines)
    upheld = tree.text(f"{folder}/multi-user.target.d/10-kubelet-service.conf")
    assert upheld == b"[Unit]\nUpholds=kubelet.service\n"


def test_programs_that_are_missing_or_for_another_machine_are_named(programs) -> None:
    binaries(programs).check()
    with pytest.raises(Failed, match="are not for arm64") as problem:
        binaries(programs, "arm64").check()
    assert "kubeadm, kubectl, kubelet" in problem.value.why
    (programs / "kubelet").unlink()
    (programs / "cni/portmap").unlink()
    with pytest.raises(Failed, match="not complete") as problem:
        binaries(programs).check()
    assert problem.value.why == "without kubelet, cni/portmap"


# ---- any tree


def release_of(tree) -> dict[str, str]:
    return dict(extension_release.parse((tree.text(extension_release.path_of("tool")) or b"").decode()))


def test_a_tree_gets_a_release_file_for_what_is_in_it(tmp_path) -> None:
    put(tmp_path, "usr/share/text", b"x")
    tree, arch = extension_contents("tool", read_tree(tmp_path))
    assert (release_of(tree), arch) == ({"ID": "_any"}, "")
    put(tmp_path, "usr/bin/tool", elf(ARM), 0o755)
    put(tmp_path, "usr/lib/systemd/system/tool.service", b"")
    tree, arch = extension_contents("tool", read_tree(tmp_path))
    assert arch == "arm64"
    assert release_of(tree) == {"ID": "_any", "ARCHITECTURE": "arm64", "EXTENSION_RELOAD_MANAGER": "1"}


def test_a_trees_own_release_file_is_kept(tmp_path) -> None:
    put(tmp_path, extension_release.path_of("tool"), b"ID=flatcar\nSYSEXT_LEVEL=1.0\n")
    tree, _ = extension_contents("tool", read_tree(tmp_path), arch="x86-64")
    assert release_of(tree) == {"ID": "flatcar", "SYSEXT_LEVEL": "1.0"}


def test_a_release_file_of_another_name_is_refused(tmp_path) -> None:
    put(tmp_path, extension_release.path_of("other"), b"ID=_any\n")
    with pytest.raises(Refused, match=r"extension-release\.other, and the extension is tool") as problem:
        extension_contents("tool", read_tree(tmp_path))
    assert "build other" in problem.value.next


@pytest.mark.parametrize(
    ("machines", "arch", "words"),
    [
        ((X86,), "arm64", "is to be for arm64, and its programs are not"),
        ((X86, ARM), "", "several architectures"),
        ((243,), "", "several architectures, or for one that Flatcar is not built for"),
    ],
)
def test_architectures_that_contradict_each_other_are_refused(tmp_path, machines, arch, words) -> None:
    for machine in machines:
        put(tmp_path, f"usr/bin/p{machine}", elf(machine), 0o755)
    with pytest.raises(Refused, match=words):
        extension_contents("tool", read_tree(tmp_path), arch=arch)


def test_a_release_file_for_another_architecture_than_its_programs_is_refused(tmp_path) -> None:
    put(tmp_path, extension_release.path_of("tool"), b"ID=_any\nARCHITECTURE=arm64\n")
    put(tmp_path, "usr/bin/tool", elf(X86), 0o755)
    with pytest.raises(Refused, match="says ARCHITECTURE=arm64, and the extension is for x86-64"):
        extension_contents("tool", read_tree(tmp_path))


def test_folders_that_nobody_named_are_there() -> None:
    assert list(contents({"a/b/c": Text(b"")}).entries) == ["a", "a/b", "a/b/c"]
