"""What is compiled for each Kubernetes version, and the go.mod that it is compiled with."""

from __future__ import annotations

from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.sysext.component import linker_flags, pins
from flatyard.sysext.gomodule import wrapper
from flatyard.sysext.images import names
from flatyard.sysext.kubernetes_tree import COMMANDS, NEEDED_PLUGINS
from flatyard.sysext.recipes import (
    CNI_PLUGINS,
    KUBERNETES_COMMANDS,
    Way,
    all_recipes,
    check_arch,
    companions,
    control_plane_recipes,
    etcd,
    etcd_tools,
    kubernetes,
    machine_recipes,
    node_recipes,
    pause,
)
from flatyard.sysext.versions import known

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", known())
def test_every_known_version_has_everything_once(version):
    recipes = all_recipes(version)
    found = [recipe.name for recipe in recipes]
    assert found == sorted(set(found), key=found.index)
    assert set(found) == {"kubernetes", "cni-plugins", "etcd", "etcd-tools", "coredns", "pause"} | {
        "containerd",
        "runc",
        "ignition",
    }


@pytest.mark.parametrize("version", known())
def test_every_module_in_the_table_is_pinned(version):
    """Its hash is in the package, so that a proxy cannot hand out something else."""
    wanted = [
        f"{module}@{recipe.version}"
        for recipe in all_recipes(version)
        if recipe.way is not Way.OURS
        for module in (recipe.module, *recipe.beside)
    ]
    assert [name for name in wanted if not pins().get(name, "").startswith("h1:")] == []


def test_a_pinned_hash_belongs_to_a_module_of_some_recipe():
    used = {
        f"{module}@{recipe.version}"
        for version in known()
        for recipe in all_recipes(version)
        for module in (recipe.module, *recipe.beside)
    }
    assert set(pins()) - used == set()


@pytest.mark.parametrize("version", known())
def test_a_node_gets_what_its_image_must_have(version):
    programs = {name for recipe in node_recipes(version) for name, _ in recipe.programs}
    assert set(NEEDED_PLUGINS) <= programs
    assert set(COMMANDS) <= set(KUBERNETES_COMMANDS)
    assert set(NEEDED_PLUGINS) <= {name for names in CNI_PLUGINS.values() for name in names}


@pytest.mark.parametrize(
    ("version", "etcd_image", "coredns", "sandbox"),
    [
        # from `kubeadm config images list --kubernetes-version`
        ("v1.33.13", "3.5.24-0", "v1.12.0", "3.10"),
        ("v1.34.0", "3.6.4-0", "v1.12.1", "3.10.1"),
        ("v1.34.3", "3.6.5-0", "v1.12.1", "3.10.1"),
        ("v1.35.4", "3.6.6-0", "v1.13.1", "3.10.1"),
        ("v1.36.3", "3.6.8-0", "v1.14.2", "3.10.2"),
    ],
)
def test_images_have_the_names_that_kubeadm_expects(version, etcd_image, coredns, sandbox):
    servers = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
    assert names(version).all == (
        *(f"registry.k8s.io/{server}:{version}" for server in servers),
        f"registry.k8s.io/etcd:{etcd_image}",
        f"registry.k8s.io/coredns/coredns:{coredns}",
        f"registry.k8s.io/pause:{sandbox}",
    )


def test_only_what_has_c_in_it_needs_a_compiler():
    assert [recipe.name for recipe in all_recipes("v1.34.3") if recipe.cgo] == ["runc", "ignition"]
    assert all(recipe.needs for recipe in machine_recipes() if recipe.cgo)


def test_another_architecture_only_without_c():
    for recipe in control_plane_recipes("v1.34.3"):
        check_arch(recipe, "arm64", "amd64")
    runc = machine_recipes()[1]
    check_arch(runc, "amd64", "amd64")
    with pytest.raises(Refused, match=r"runc v1\.3\.4 is not compiled for arm64 on amd64"):
        check_arch(runc, "arm64", "amd64")


def test_an_unsupported_minor_is_refused_before_anything_else():
    with pytest.raises(Refused, match=r"v1\.20\.0 is not supported"):
        all_recipes("v1.20.0")


def test_etcd_is_the_patch_that_kubeadm_starts():
    assert companions("v1.34.0").etcd == "3.6.4"
    assert companions("v1.34.99").etcd == "3.6.5"


def test_etcdctl_of_a_version_that_cannot_be_had_is_the_next_one():
    assert (companions("v1.33.6").etcd, companions("v1.33.6").etcd_tools) == ("3.5.24", "3.5.33")


def test_the_version_is_stamped_as_upstream_does():
    flags = linker_flags(kubernetes("v1.34.3"))
    for place in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X={place}.gitVersion=v1.34.3 -X={place}.gitMajor=1 -X={place}.gitMinor=34" in flags
    assert flags.startswith("-s -w ")
    assert "-extldflags=-static" in linker_flags(machine_recipes()[1])


def test_the_wrapper_of_kubernetes_names_the_staging_modules_released_with_it():
    upstream = (GOLDEN / "kubernetes-1.34.3.upstream.mod").read_text()
    assert wrapper(kubernetes("v1.34.3"), upstream) == (GOLDEN / "kubernetes-1.34.3.mod").read_text()


@pytest.mark.parametrize(
    ("recipe", "upstream", "expected"),
    [
        (
            etcd("v3.6.5"),
            "module go.etcd.io/etcd/server/v3\n\ngo 1.24\n\ntoolchain go1.24.9\n",
            "module flatyard.invalid/etcd\n\ngo 1.24\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.6.5\n)\n",
        ),
        (
            etcd_tools("v3.6.5"),
            "module go.etcd.io/etcd/etcdutl/v3\n\ngo 1.24.0\n",
            "module flatyard.invalid/etcd-tools\n\ngo 1.24.0\n\nrequire (\n\tgo.etcd.io/etcd/etcdctl/v3 v3.6.5\n"
            "\tgo.etcd.io/etcd/etcdutl/v3 v3.6.5\n)\n",
        ),
        (pause("3.10.1"), "", "module flatyard.invalid/pause\n\ngo 1.21\n"),
    ],
    ids=["etcd", "etcd-tools", "pause"],
)
def test_other_wrappers_require_the_module_and_nothing_else(recipe, upstream, expected):
    assert wrapper(recipe, upstream) == expected


def test_a_kubernetes_laid_out_in_an_unknown_way_is_told():
    with pytest.raises(Failed, match="names no staging modules"):
        wrapper(kubernetes("v1.34.3"), "module k8s.io/kubernetes\n\ngo 1.24.0\n")
