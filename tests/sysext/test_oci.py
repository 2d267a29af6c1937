"""Archives of images: their bytes, what containerd finds in them, and kube-proxy's tools out of a tree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.sysext import images, oci, recipes
from flatyard.sysext.contents import Copy, Folder, Link, Text, contents
from flatyard.sysext.elf import needs
from flatyard.sysext.network_tools import TOOLS, network_tools
from flatyard.sysext.source import Compiled

ROOT = Path(__file__).resolve().parent.parent.parent


def tree(program: Path):
    return contents(
        {
            "usr/local/bin/one": Copy(program, program.stat().st_size),
            "usr/local/bin/two": Link("one"),
            "etc/passwd": Text(b"root:x:0:0:root:/:/\n"),
            "tmp": Folder(0o1777),
        }
    )


def two_images(folder: Path) -> list[oci.Image]:
    program = folder / "program"
    program.write_bytes(b"a program\n" * 1000)
    shared = tree(program)
    return [
        oci.Image("registry.k8s.io/one:v1.34.3", (shared,), ("/usr/local/bin/one",)),
        oci.Image("registry.k8s.io/two:v1.34.3", (contents({"a": Text(b"a")}), shared), user="65535:65535"),
    ]


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {m.name: (tar.extractfile(m) or pytest.fail(m.name)).read() for m in tar if m.isfile()}


def test_the_same_contents_are_the_same_bytes_everywhere(tmp_path):
    """Golden: if this changes, every node imports everything again."""
    made = []
    for name, umask in (("a", 0o022), ("b", 0o077)):
        (tmp_path / name).mkdir()
        before = os.umask(umask)
        try:
            made.append(
                oci.write(two_images(tmp_path / name), tmp_path / name / "out.tar", "amd64", compress=False)
            )
        finally:
            os.umask(before)
    assert made[0].sha256 == made[1].sha256 == hashlib.sha256(made[0].path.read_bytes()).hexdigest()
    assert made[0].sha256 == "c8f7eb381653c3019f09dbbf3f281f96b59b137efa85c38e0573f4c49d4fd340"
    assert made[0].size == made[0].path.stat().st_size


def test_containerd_finds_each_image_under_its_name(tmp_path):
    archive = oci.write(two_images(tmp_path), tmp_path / "out.tar", "arm64", compress=False)
    found = members(archive.path)
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found["index.json"])
    called = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert (
        tuple(called) == archive.references == ("registry.k8s.io/one:v1.34.3", "registry.k8s.io/two:v1.34.3")
    )
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"arm64"}


def test_every_blob_is_what_its_name_says_and_is_needed(tmp_path):
    found = members(oci.write(two_images(tmp_path), tmp_path / "out.tar", "amd64", compress=False).path)
    blobs = {name.rpartition("/")[2]: body for name, body in found.items() if name.startswith("blobs/")}
    assert [digest for digest, body in blobs.items() if hashlib.sha256(body).hexdigest() != digest] == []
    used: set[str] = set()
    for entry in json.loads(found["index.json"])["manifests"]:
        manifest = json.loads(blobs[entry["digest"].removeprefix("sha256:")])
        parts = [entry, manifest["config"], *manifest["layers"]]
        used |= {part["digest"].removeprefix("sha256:") for part in parts}
        assert all(len(blobs[part["digest"].removeprefix("sha256:")]) == part["size"] for part in parts)
        config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
        assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert used == set(blobs)


def test_what_images_share_is_in_the_archive_once(tmp_path):
    found = members(oci.write(two_images(tmp_path), tmp_path / "out.tar", "amd64", compress=False).path)
    assert sum(b"a program" in body for body in found.values()) == 1


def test_a_layer_has_owners_modes_and_links(tmp_path):
    found = members(oci.write(two_images(tmp_path)[:1], tmp_path / "out.tar", "amd64", compress=False).path)
    manifest = json.loads(found["index.json"])["manifests"][0]["digest"].replace(":", "/")
    layer = json.loads(found[f"blobs/{manifest}"])["layers"][0]["digest"].replace(":", "/")
    (tmp_path / "layer.tar").write_bytes(found[f"blobs/{layer}"])
    with tarfile.open(tmp_path / "layer.tar") as tar:
        facts = {m.name: (m.mode, m.uid, m.gid, m.mtime, m.linkname) for m in tar}
    assert facts["usr/local/bin/one"] == (0o755, 0, 0, 0, "")
    assert facts["usr/local/bin/two"][4] == "one"
    assert facts["tmp"][0] == 0o1777
    assert {fact[1:4] for fact in facts.values()} == {(0, 0, 0)}


def test_a_file_that_changes_meanwhile_leaves_the_old_archive(tmp_path):
    target = tmp_path / "out.tar"
    target.write_bytes(b"old")
    made = two_images(tmp_path)
    (tmp_path / "program").write_bytes(b"short")
    with pytest.raises(Failed, match="became shorter"):
        oci.write(made, target, "amd64", compress=False)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tar", "program"]


# ---- kube-proxy's tools


def program(loader: str, *libraries: str) -> bytes:
    """A small ELF file: one segment that holds everything, a loader, and a dynamic section."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in libraries)
    at = {name: names.index(name.encode() + b"\0") for name in libraries}
    base, head, segment = 0x1000, 64, 56
    start = head + 3 * segment
    interpreter = loader.encode() + b"\0"
    dynamic = b"".join(struct.pack("<qQ", 1, at[name]) for name in libraries)
    strings = start + len(interpreter) + 16 * (len(libraries) + 2)
    dynamic += struct.pack("<qQ", 5, base + strings) + bytes(16)
    size = strings + len(names)

    def row(kind: int, offset: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, offset, base + offset, base + offset, length, length, 8)

    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, head, 0, 0, head, segment, 3, 0, 0, 0)
    rows = row(1, 0, size) + row(3 if loader else 4, start, len(interpreter))
    rows += row(2, start + len(interpreter), len(dynamic))
    return header + rows + interpreter + dynamic + names


LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@pytest.fixture
def root(tmp_path) -> Path:
    """A Debian-like tree: merged /usr, absolute links, a plugin that needs a library that no tool needs."""
    top = tmp_path / "root"
    files = {tool: program(LOADER, "libc.so.6") for tool in TOOLS}
    files |= {
        f"{LIBRARIES}/ld-linux-x86-64.so.2": program(""),
        f"{LIBRARIES}/libc.so.6": program("", "ld-linux-x86-64.so.2"),
        f"{LIBRARIES}/libm-2.36.so": program("", "libc.so.6"),
        f"{LIBRARIES}/xtables/libxt_statistic.so": program("", "libm.so.6"),
        f"{LIBRARIES}/libunused.so": program(""),
    }
    for path, body in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(body)
    (top / "usr/lib64").mkdir()
    (top / "usr/lib64/ld-linux-x86-64.so.2").symlink_to(f"/{LIBRARIES}/ld-linux-x86-64.so.2")
    (top / LIBRARIES / "libm.so.6").symlink_to("libm-2.36.so")
    for name in ("lib", "lib64", "sbin"):
        (top / name).symlink_to(f"usr/{name}")
    return top


def test_libraries_of_a_program(tmp_path):
    (tmp_path / "p").write_bytes(program(LOADER, "libc.so.6", "libm.so.6"))
    found = needs(tmp_path / "p")
    assert found and (found.loader, found.libraries) == (LOADER, ("libc.so.6", "libm.so.6"))


def test_a_script_needs_no_libraries_and_a_damaged_program_is_told(tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "cut").write_bytes(program(LOADER, "libc.so.6")[:200])
    assert needs(tmp_path / "script") is None
    with pytest.raises(Refused, match="is damaged"):
        needs(tmp_path / "cut")


def test_tools_come_with_their_libraries_and_their_plugins_libraries(root):
    """Without libm, kube-proxy runs, and every sync fails once a Service has two endpoints."""
    found = network_tools(root, "amd64").entries
    assert {f"{LIBRARIES}/libc.so.6", f"{LIBRARIES}/libm.so.6", "usr/lib64/ld-linux-x86-64.so.2"} <= set(
        found
    )
    assert f"{LIBRARIES}/libunused.so" not in found
    assert found["usr/sbin/iptables-restore"] == Link("xtables-nft-multi")
    assert found["lib64"] == Link("usr/lib64")


def test_plugins_are_found_where_flatcar_has_them(root):
    """A /usr alone, as Flatcar's disk image has it: without the plugins every sync of kube-proxy would fail."""
    (root / "usr/lib64/ld-linux-x86-64.so.2").unlink()
    (root / "usr/lib64").rmdir()
    (root / LIBRARIES).rename(root / "usr/lib64")
    for name in ("lib", "lib64", "sbin"):
        (root / name).unlink()
    found = network_tools(root, "amd64").entries
    assert {"usr/lib64/xtables/libxt_statistic.so", "usr/lib64/libm.so.6"} <= set(found)
    assert LIBRARIES not in {path.rpartition("/")[0] for path in found}


def test_a_tree_without_the_tools_is_refused_with_their_packages(root):
    for tool in ("nft", "conntrack"):
        (root / "usr/sbin" / tool).unlink()
    with pytest.raises(Refused) as caught:
        network_tools(root, "amd64")
    assert caught.value.next == "install conntrack nftables in it"


def test_a_tree_of_another_architecture_is_refused(root):
    with pytest.raises(Refused, match="is not a system for arm64"):
        network_tools(root, "arm64")


def test_a_link_out_of_the_tree_is_not_followed_out_of_it(root, tmp_path):
    (tmp_path / "outside").write_bytes(program(LOADER))
    (root / "usr/sbin/nft").unlink()
    (root / "usr/sbin/nft").symlink_to("../../../outside")
    with pytest.raises(Refused, match="has not the tools"):
        network_tools(root, "amd64")


# ---- the control plane


@pytest.fixture
def compiled(tmp_path) -> dict[str, Compiled]:
    found = {}
    for recipe in recipes.control_plane_recipes("v1.34.3"):
        folder = tmp_path / recipe.name
        folder.mkdir()
        programs = {name: folder / name for name, _ in recipe.programs}
        for name, path in programs.items():
            path.write_bytes(f"program {name}\n".encode())
        found[recipe.name] = Compiled(recipe, "amd64", folder, programs)
    return found


def test_a_control_plane_is_four_archives(compiled, root, tmp_path):
    made = images.archives("v1.34.3", "amd64", compiled, root=root, folder=tmp_path / "out", compress=False)
    assert [archive.path.name for archive in made] == [
        "kubernetes-v1.34.3-x86-64.tar",
        "etcd-3.6.5-0-x86-64.tar",
        "coredns-v1.12.1-x86-64.tar",
        "pause-3.10.1-x86-64.tar",
    ]
    assert tuple(name for archive in made for name in archive.references) == images.names("v1.34.3").all


def test_four_images_of_kubernetes_have_one_program_between_them(compiled, root, tmp_path):
    made = images.archives("v1.34.3", "amd64", compiled, root=root, folder=tmp_path / "out", compress=False)
    found = members(made[0].path)
    assert sum(b"program kubernetes" in body for body in found.values()) == 1
    assert len(json.loads(found["index.json"])["manifests"]) == 4


def test_only_kube_proxy_has_the_network_tools(compiled, root, tmp_path):
    made = images.archives("v1.34.3", "amd64", compiled, root=root, folder=tmp_path / "out", compress=False)
    found = members(made[0].path)
    with_tools = []
    for entry in json.loads(found["index.json"])["manifests"]:
        manifest = json.loads(found["blobs/" + entry["digest"].replace(":", "/")])
        bodies = [found["blobs/" + layer["digest"].replace(":", "/")] for layer in manifest["layers"]]
        if any(b"xtables-nft-multi" in body for body in bodies):
            with_tools.append(entry["annotations"]["io.containerd.image.name"])
    assert with_tools == ["registry.k8s.io/kube-proxy:v1.34.3"]


# ---- compressed


def test_without_zstd_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused) as caught:
        oci.write(two_images(tmp_path), tmp_path / "out.tar", "amd64")
    assert caught.value.next == "apt-get install zstd"
    assert not (tmp_path / "out.tar").exists()


def test_a_zstd_that_fails_leaves_no_archive(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/zstd"
    fake.write_text("#!/bin/sh\nexit 70\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(Failed, match="zstd ended with 70"):
        oci.write(two_images(tmp_path), tmp_path / "out.tar", "amd64")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "program"]


@pytest.mark.emulated
def test_compressed_layers_are_the_trees_and_the_same_bytes_each_time(tmp_path, zstd):
    made = [oci.write(two_images(tmp_path), tmp_path / f"{n}.tar", "amd64") for n in (1, 2)]
    assert made[0].sha256 == made[1].sha256
    found = members(made[0].path)
    for entry in json.loads(found["index.json"])["manifests"]:
        manifest = json.loads(found["blobs/" + entry["digest"].replace(":", "/")])
        config = json.loads(found["blobs/" + manifest["config"]["digest"].replace(":", "/")])
        for layer, content in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            packed = found["blobs/" + layer["digest"].replace(":", "/")]
            assert layer["mediaType"].endswith("+zstd")
            plain = subprocess.run([zstd, "-dc"], input=packed, capture_output=True, check=True).stdout
            assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == content


@pytest.mark.emulated
def test_a_folder_that_has_the_archives_of_these_inputs_is_left_alone(
    compiled, root, cache, zstd, monkeypatch, tmp_path
):
    """Every start of a local cluster asks for them."""
    monkeypatch.setattr(images.source, "compile_all", lambda *_, **__: compiled)
    first = images.control_plane("v1.34.3", "amd64", root=root, folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(images, "archives", lambda *_, **__: pytest.fail("written again"))
        assert images.control_plane("v1.34.3", "amd64", root=root, folder=tmp_path) == first
    images.control_plane("v1.34.4", "amd64", root=root, folder=tmp_path)
    assert images.control_plane("v1.34.3", "amd64", root=root, folder=tmp_path) == first


@pytest.mark.emulated
def test_a_control_plane_in_the_cache_is_not_written_again(compiled, root, cache, zstd, monkeypatch):
    monkeypatch.setattr(images.source, "compile_all", lambda *_, **__: compiled)
    first = images.control_plane("v1.34.3", "amd64", root=root)
    written = [archive.path.stat().st_mtime_ns for archive in first]
    assert images.control_plane("v1.34.3", "amd64", root=root) == first
    assert [archive.path.stat().st_mtime_ns for archive in first] == written
    first[0].path.write_bytes(b"cut")
    assert images.control_plane("v1.34.3", "amd64", root=root) == first
    assert first[0].path.stat().st_size == first[0].size
    (root / "usr/sbin/nft").write_bytes(program(LOADER, "libm.so.6"))
    assert images.control_plane("v1.34.3", "amd64", root=root)[0].sha256 != first[0].sha256


@pytest.fixture(scope="session")
def zstd() -> str:
    """The real one; installed where it is missing."""
    if shutil.which("zstd") is None:
        command = [sys.executable, str(ROOT / "tools/packages.py"), "emulated"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = shutil.which("zstd")
    assert found
    return found
