"""Compiling for real: with the go of this machine and its module proxy. A machine without go fails these tests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.sysext import recipes, source, toolchain
from flatyard.sysext.cache import cache_folder
from flatyard.sysext.images import control_plane, names
from flatyard.sysext.inspection import inspect
from flatyard.sysext.kubernetes_tree import kubernetes_contents
from flatyard.sysext.layout import image_name
from flatyard.sysext.squashfs import write

ROOT = Path(__file__).resolve().parent.parent.parent
VERSION = "v1.34.3"
PATCH = "v1.34.4"
MINORS = ("v1.33.13", "v1.35.4", "v1.36.3")
"""One of each other minor."""


def said(path: Path, *arguments: str, name: str = "") -> str:
    done = subprocess.run(
        [name or path.name, *arguments], executable=path, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.emulated
def test_two_builds_in_different_folders_give_the_same_bytes(tmp_path, monkeypatch):
    """Modules are shared, so that they are not downloaded twice; everything that is compiled is not."""
    loopback = replace(recipes.cni_plugins("v1.9.1"), programs=(("loopback", "./plugins/main/loopback"),))
    modules = cache_folder() / "go/mod"
    modules.mkdir(parents=True, exist_ok=True)
    found = []
    for place in ("here", "somewhere/else"):
        cache = tmp_path / place
        (cache / "go").mkdir(parents=True)
        (cache / "go/mod").symlink_to(modules)
        monkeypatch.setenv("FLATYARD_CACHE", str(cache))
        made = source.compile_all([recipes.pause("3.10.1"), loopback], "amd64")
        found.append({name: sha256(path) for one in made.values() for name, path in one.programs.items()})
        shutil.rmtree(cache / "go/build")
    assert found[0] == found[1]
    assert set(found[0]) == {"pause", "loopback"}


@pytest.mark.emulated
def test_pause_says_its_version_and_ends_when_it_is_told_to():
    pause = source.compile_all([recipes.pause("3.10.1")], source.host_arch())["pause"].programs["pause"]
    assert said(pause, "-v") == "flatyard's pause, in place of 3.10.1\n"
    running = subprocess.Popen([pause])
    running.terminate()
    assert running.wait(10) in (0, -15)


@pytest.mark.emulated
def test_another_architecture_is_compiled_here():
    pause = source.compile_all([recipes.pause("3.10.1")], "arm64")["pause"].programs["pause"]
    assert pause.read_bytes()[18:20] == (183).to_bytes(2, "little")


@pytest.mark.emulated
def test_the_table_names_what_kubeadm_of_each_release_starts(tmp_path):
    """Kubernetes' own constants, from its module."""
    go = shutil.which("go")
    assert go
    env = dict(toolchain.find(cache_folder()).environment(arch="amd64", cgo=False))
    for version in ("v1.33.13", "v1.34.0", VERSION, "v1.35.4", "v1.36.3"):
        command = [go, "mod", "download", "-json", f"k8s.io/kubernetes@{version}"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        text = (Path(json.loads(done.stdout)["Dir"]) / "cmd/kubeadm/app/constants/constants.go").read_text()
        constants = dict(re.findall(r'(\w+Version)\s*=\s*"([^"]+)"', text))
        wanted = names(version)
        assert wanted.etcd.endswith(f":{constants['DefaultEtcdVersion']}")
        assert wanted.coredns.endswith(f":{constants['CoreDNSVersion']}")
        assert wanted.pause.endswith(f":{constants['PauseVersion']}")


@pytest.fixture(scope="module")
def packages() -> None:
    main = runpy.run_path(str(ROOT / "tools/packages.py"))["main"]
    assert main(["real"]) == 0


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_everything_is_compiled_and_says_its_version(packages, tmp_path):
    """The one big build of the tiers: minutes when the cache is empty, seconds when it is not."""
    made = source.compile_all(recipes.all_recipes(VERSION), "amd64", say=print)
    programs = {name: path for one in made.values() for name, path in one.programs.items()}
    kubernetes = programs.pop("kubernetes")
    for name in ("kubelet", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"):
        assert said(kubernetes, "--version", name=name) == f"Kubernetes {VERSION}\n"
    assert said(kubernetes, "version", "-o", "short", name="kubeadm") == f"{VERSION}\n"
    assert f"Client Version: {VERSION}" in said(kubernetes, "version", "--client", name="kubectl")
    assert '"json"' in said(kubernetes, "--help", name="kube-apiserver")
    assert "libseccomp: " in said(programs["runc"], "--version")
    for name, version in {
        "etcd": "3.6.5",
        "coredns": "1.12.1",
        "containerd": recipes.CONTAINERD,
        "runc": recipes.RUNC.removeprefix("v"),
        "ignition": recipes.IGNITION.removeprefix("v"),
        "bridge": "v1.9.1",
    }.items():
        flag = "-version" if name == "coredns" else "--version"
        assert version in said(programs[name], flag)


def compiled_and_packed(version: str, folder: Path) -> None:
    """An extension image of our own programs, which say what they are."""
    programs = source.binaries(version, "amd64", say=print)
    image = folder / image_name(version, "amd64")
    write(kubernetes_contents(programs), image)
    assert said(programs.paths["kubelet"], "--version", name="kubelet") == f"Kubernetes {version}\n"
    assert said(programs.paths["kubeadm"], "version", "-o", "short", name="kubeadm") == f"{version}\n"
    found = inspect(image)
    assert (found.findings, found.versions["kubernetes"]) == ((), version)


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_another_patch_is_compiled_too(packages, tmp_path):
    compiled_and_packed(PATCH, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", MINORS)
def test_other_minors_are_compiled(packages, tmp_path, version):
    compiled_and_packed(version, tmp_path)


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_kubeadm_expects_the_names_that_the_archives_have(packages, tmp_path):
    made = source.compile_all(recipes.control_plane_recipes(VERSION), "amd64", say=print)
    kubernetes = made["kubernetes"].programs["kubernetes"]
    command = ("config", "images", "list", "--kubernetes-version", VERSION)
    listed = said(kubernetes, *command, name="kubeadm").split()
    written = control_plane(VERSION, "amd64", root=Path("/"), folder=tmp_path)
    assert sorted(name for one in written for name in one.references) == sorted(listed)


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_containerd_imports_the_archives_under_their_names(packages, tmp_path):
    """Our own containerd and ctr, below a folder of their own."""
    made = source.compile_all(recipes.all_recipes(VERSION), "amd64", say=print)
    programs = made["containerd"].programs
    written = control_plane(VERSION, "amd64", root=Path("/"), folder=tmp_path / "images")
    socket = tmp_path / "c.sock"
    config = tmp_path / "config.toml"
    config.write_text(
        f'version = 3\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"]\n'
        f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{socket}.ttrpc"\n'
    )
    ctr = [str(programs["ctr"]), "--address", str(socket), "--namespace", "k8s.io", "images"]
    env = os.environ | {"PATH": f"{programs['ctr'].parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [programs["containerd"], "-c", config], env=env, stderr=subprocess.PIPE, text=True
    ) as daemon:
        try:
            assert daemon.stderr
            next(line for line in daemon.stderr if "successfully booted" in line)
            for archive in written:
                command = [*ctr, "import", str(archive.path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
            listed = subprocess.run([*ctr, "list", "-q"], capture_output=True, text=True, check=True).stdout
        finally:
            daemon.terminate()
    assert set(names(VERSION).all) <= set(listed.split())
