"""What systemd makes of a tree: units, drop-ins, masks, presets, order, conditions, extensions."""

from __future__ import annotations

import pytest

from flatyard.ignition.tree import Node, NodeKind, make_parents
from flatyard.sim.base_tree import flatcar_root
from flatyard.sim.extensions import merge_extensions
from flatyard.sim.systemd import Manager, Vendor
from flatyard.sim.unit import escape_path, expand
from flatyard.sysext.simulated import simulated_image

VENDOR = Vendor("4593.2.5", "amd64")
UNITS = "/etc/systemd/system"
PRESET = "/etc/systemd/system-preset/20-ignition.preset"
WANTED = "[Install]\nWantedBy=multi-user.target\n"
RUN = "[Service]\nExecStart=/usr/bin/true\n"


def root(files=None, links=None):
    tree = flatcar_root("4593.2.5", "amd64", None).overlay()
    for path, text in (files or {}).items():
        make_parents(tree, path)
        tree.write(path, text if isinstance(text, bytes) else text.encode(), 0o644)
    for path, target in (links or {}).items():
        make_parents(tree, path)
        tree.symlink(path, target)
    return tree


def manager(files=None, links=None):
    return Manager(root(files, links), VENDOR)


def test_a_vanilla_image_boots_its_own_units_and_no_kubelet():
    systemd = manager()
    order = systemd.boot()
    assert (
        order.index("systemd-sysext.service")
        < order.index("sysinit.target")
        < order.index("containerd.service")
    )
    assert order[-1] == "multi-user.target"
    assert "kubelet.service" not in order
    assert systemd.load("kubelet.service").problem == "not-found"


def test_a_preset_enables_what_has_an_install_section():
    files = {
        f"{UNITS}/a.service": f"[Unit]\nAfter=b.service\n{RUN}{WANTED}",
        f"{UNITS}/b.service": f"{RUN}{WANTED}",
        f"{UNITS}/c.service": RUN,
        f"{UNITS}/d.service": f"{RUN}{WANTED}",
        PRESET: "enable a.service\nenable b.service\nenable c.service\n",
    }
    systemd = manager(files)
    order = systemd.boot()
    assert order.index("b.service") < order.index("a.service")
    assert "c.service" not in order
    assert "d.service" not in order
    assert systemd.is_enabled("a.service")
    assert not systemd.is_enabled("d.service")


def test_an_enabled_instance_comes_from_its_template():
    files = {
        f"{UNITS}/say@.service": f"[Service]\nExecStart=/usr/bin/echo %i %n\n{WANTED}",
        PRESET: "enable say@.service one two\n",
    }
    systemd = manager(files)
    assert {"say@one.service", "say@two.service"} <= set(systemd.boot())
    assert systemd.load("say@one.service").commands() == [["/usr/bin/echo", "one", "say@one.service"]]


def test_dropins_are_laid_over_in_the_order_of_their_names_and_reset_lists():
    files = {
        f"{UNITS}/a.service": "[Service]\nEnvironment=X=1\nExecStart=/usr/bin/false\n",
        f"{UNITS}/a.service.d/20-second.conf": "[Service]\nEnvironment=X=3\n",
        f"{UNITS}/a.service.d/10-first.conf": (
            "[Service]\nExecStart=\nExecStart=/usr/bin/echo ${X} $Y\nEnvironment=Y='p q'\n"
        ),
    }
    assert manager(files).load("a.service").commands() == [["/usr/bin/echo", "3", "p", "q"]]


@pytest.mark.parametrize(
    ("files", "links", "problem"),
    [
        ({}, {f"{UNITS}/a.service": "/dev/null"}, "masked"),
        ({f"{UNITS}/a.service": ""}, {}, "masked"),
        ({f"{UNITS}/a.service": "[Unit]\nDescription=nothing\n"}, {}, "bad-setting: no ExecStart= setting"),
        ({f"{UNITS}/a.service": "[Unit\n"}, {}, "bad-setting: unable to find end of section"),
        ({}, {}, "not-found"),
        ({"/opt/a.service": RUN}, {f"{UNITS}/a.service": "/opt/a.service"}, ""),
    ],
)
def test_why_a_unit_cannot_be_loaded(files, links, problem):
    assert manager(files, links).load("a.service").problem == problem


def test_a_mask_below_etc_hides_the_images_own_unit():
    systemd = manager(links={f"{UNITS}/containerd.service": "/dev/null"})
    assert systemd.load("containerd.service").problem == "masked"


def test_a_path_requires_the_mounts_on_its_way():
    files = {
        f"{UNITS}/var-lib-etcd.mount": "[Mount]\nWhat=/dev/vdb\nWhere=/var/lib/etcd\n",
        f"{UNITS}/a.service": f"[Unit]\nRequiresMountsFor=/var/lib/etcd/member\n{RUN}{WANTED}",
        PRESET: "enable a.service\n",
    }
    systemd = manager(files)
    assert systemd.strong("a.service") == ("var-lib-etcd.mount",)
    order = systemd.boot()
    assert order.index("var-lib-etcd.mount") < order.index("a.service")


@pytest.mark.parametrize(
    ("condition", "unmet"),
    [
        ("ConditionPathExists=/etc/os-release", ""),
        ("ConditionPathExists=!/etc/os-release", "ConditionPathExists=!/etc/os-release"),
        ("ConditionPathExists=/nowhere", "ConditionPathExists=/nowhere"),
        ("ConditionPathExists=|/nowhere\nConditionPathExists=|/etc/os-release", ""),
        ("ConditionPathExists=|/nowhere\nConditionPathExists=|/nothing", "ConditionPathExists=|/nowhere"),
        ("ConditionPathIsSymbolicLink=/etc/os-release", ""),
        ("ConditionPathIsSymbolicLink=/etc/passwd", "ConditionPathIsSymbolicLink=/etc/passwd"),
        ("ConditionDirectoryNotEmpty=/etc/extensions", "ConditionDirectoryNotEmpty=/etc/extensions"),
        ("ConditionFileIsExecutable=/usr/bin/curl", ""),
        ("ConditionFileIsExecutable=/etc/passwd", "ConditionFileIsExecutable=/etc/passwd"),
        ("ConditionFileNotEmpty=/etc/flatcar/update.conf", "ConditionFileNotEmpty=/etc/flatcar/update.conf"),
    ],
)
def test_conditions(condition, unmet):
    systemd = manager({f"{UNITS}/a.service": f"[Unit]\n{condition}\n{RUN}"})
    assert systemd.unmet("a.service") == unmet


def test_a_cycle_does_not_keep_a_machine_from_booting():
    files = {
        f"{UNITS}/a.service": f"[Unit]\nAfter=b.service\n{RUN}{WANTED}",
        f"{UNITS}/b.service": f"[Unit]\nAfter=a.service\n{RUN}{WANTED}",
        PRESET: "enable a.service\nenable b.service\n",
    }
    assert {"a.service", "b.service"} <= set(manager(files).boot())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/var/lib/etcd", "var-lib-etcd"),
        ("/", "-"),
        ("/mnt/my disk/.x", "mnt-my\\x20disk-.x"),
        ("/.hidden", "\\x2ehidden"),
        ("/a-b", "a\\x2db"),
    ],
)
def test_paths_as_unit_names(path, name):
    assert escape_path(path) == name


def test_specifiers():
    assert expand("%n %N %p %i %% %x", "say@a-b.service") == "say@a-b.service say@a-b say a-b % %x"


RAW = "/opt/extensions/kubernetes/kubernetes-v1.34.3-x86-64.raw"


@pytest.mark.parametrize(
    ("files", "links", "failed", "said", "kubelet"),
    [
        ({RAW: simulated_image("v1.34.3")}, {"/etc/extensions/kubernetes.raw": RAW}, False, "Merged", True),
        ({}, {"/etc/extensions/kubernetes.raw": RAW}, False, "No extensions found", False),
        ({RAW: b"cut"}, {"/etc/extensions/kubernetes.raw": RAW}, True, "No medium found", False),
        (
            {RAW: simulated_image("v1.34.3")},
            {"/etc/extensions/other.raw": RAW},
            True,
            "No medium found",
            False,
        ),
        (
            {RAW: simulated_image("v1.34.3", "arm64")},
            {"/etc/extensions/kubernetes.raw": RAW},
            False,
            "arm64",
            False,
        ),
        (
            {RAW: simulated_image("v1.34.3")},
            {"/etc/extensions/kubernetes.raw": "/dev/null"},
            False,
            "No ext",
            False,
        ),
        ({"/etc/extensions/docker.raw": b"hsqs..."}, {}, False, "No extensions found", False),
    ],
)
def test_extensions(files, links, failed, said, kubelet):
    tree = root(files, links)
    merged = merge_extensions(tree, "amd64")
    assert merged.failed is failed
    assert said in "\n".join(merged.log)
    systemd = Manager(merged.tree, Vendor("4593.2.5", "amd64", None, merged.contents))
    assert ("kubelet.service" in systemd.boot()) is kubelet
    assert (merged.tree.get("/usr/bin/kubelet") is not None) is kubelet
    assert tree.get("/usr/bin/kubelet") is None


def test_a_baked_image_has_its_kubelet_in_opt():
    tree = flatcar_root("4593.2.5", "amd64", "v1.34.3").overlay()
    systemd = Manager(tree, Vendor("4593.2.5", "amd64", "v1.34.3"))
    assert "kubelet.service" in systemd.boot()
    assert systemd.load("kubelet.service").commands()[0][0] == "/opt/bin/kubelet"
    node = tree.get("/opt/bin/kubelet")
    assert isinstance(node, Node) and node.kind is NodeKind.FILE
