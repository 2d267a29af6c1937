"""`flatyard sysext` as a user sees it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import signal
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from flatyard.sysext.kubernetes_tree import Binaries
from flatyard.sysext.squashfs import Image

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/sysext/golden"
KUBERNETES = GOLDEN / "kubernetes-v1.34.3-x86-64.raw"
PROGRAM = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(100)


@pytest.fixture
def packed(monkeypatch) -> list[tuple[dict[str, object], Path, int]]:
    """What would be packed: contents, target, level. mksquashfs itself is for the emulated tier."""
    calls: list[tuple[dict[str, object], Path, int]] = []

    def write(tree, target, *, level):
        calls.append((dict(tree.entries), target, level))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"packed")
        return Image(target, 6)

    monkeypatch.setattr("flatyard.sysext.squashfs.write", write)
    return calls


@pytest.fixture
def programs(tmp_path) -> Path:
    folder = tmp_path / "programs"
    for name in (
        "kubeadm",
        "kubelet",
        "kubectl",
        "cni/bridge",
        "cni/host-local",
        "cni/loopback",
        "cni/portmap",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PROGRAM)
    return folder


def test_the_group_lists_its_commands(flatyard) -> None:
    out = flatyard("sysext", "--help").stdout
    for name in ("build", "inspect", "verify", "list", "feed", "mirror", "serve"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE)


# ---- build


def test_build_kubernetes_from_a_folder_of_programs(flatyard, packed, programs, tmp_path) -> None:
    result = flatyard("sysext", "build", "kubernetes", "1.34.3", "--arch", "x86-64", "--from", str(programs),
                      "--to", str(tmp_path / "out"))  # fmt: skip
    target = tmp_path / "out/kubernetes-v1.34.3-x86-64.raw"
    assert (result.exit_code, result.stdout) == (0, f"{target}\n")
    assert "CNI plugins v1.9.1, zstd level 3" in result.stderr
    ((entries, where, level),) = packed
    assert where == target and level == 3 and "usr/bin/kubelet" in entries


def test_build_kubernetes_of_compiled_programs(flatyard, packed, programs, tmp_path, monkeypatch) -> None:
    def binaries(version, arch, *, say):
        say("compiling")
        return Binaries.in_folder(programs, version=version, cni_version="v1.9.1", arch=arch)

    monkeypatch.setattr("flatyard.sysext.source.binaries", binaries)
    result = flatyard("sysext", "build", "kubernetes", "v1.34.3", "--arch", "x86-64", "--from", "source",
                      "--to", str(tmp_path), "-q")  # fmt: skip
    assert (result.exit_code, result.stderr, len(packed)) == (0, "", 1)


def test_build_of_a_tree(flatyard, packed, tmp_path) -> None:
    (tmp_path / "tree/usr/bin").mkdir(parents=True)
    (tmp_path / "tree/usr/bin/tool").write_bytes(PROGRAM)
    (tmp_path / "tree/etc").mkdir()
    run = ("sysext", "build", "tool", str(tmp_path / "tree"), "--to", str(tmp_path), "-o", "json")
    result = flatyard(*run, "--version", "1.2", "--level", "19")
    assert json.loads(result.stdout) == {
        "path": str(tmp_path / "tool-1.2-x86-64.raw"),
        "size": 6,
        "sha256": hashlib.sha256(b"packed").hexdigest(),
    }
    assert result.stderr == "warning: /etc: is not merged by a node: only /usr and /opt are\n"
    flatyard(*run)
    assert [(where.name, level) for _, where, level in packed] == [
        ("tool-1.2-x86-64.raw", 19),
        ("tool.raw", 3),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Docker", "DIR"), "'Docker' is not a name for an extension"),
        (("docker", "/nowhere"), "'/nowhere' is not a folder"),
        (("kubernetes", "newest"), "'newest' is not a Kubernetes version or a folder"),
        (("kubernetes", "v1.20.0"), "Kubernetes v1.20.0 is not supported"),
        (("kubernetes", "v1.34.3", "--from", "elsewhere"), "'elsewhere' is not release, source, or a folder"),
        (("empty", "DIR"), "is empty"),
    ],
)
def test_a_build_that_cannot_be_is_a_usage_error(flatyard, packed, tmp_path, arguments, words) -> None:
    given = [str(tmp_path) if argument == "DIR" else argument for argument in arguments]
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    result = flatyard("sysext", "build", *given)
    assert result.exit_code == 2 and words in result.stderr and not packed


def test_a_build_says_which_programs_are_missing_or_wrong(flatyard, packed, programs) -> None:
    build = ("sysext", "build", "kubernetes", "v1.34.3", "--from", str(programs))
    result = flatyard(*build, "--arch", "arm64")
    assert result.exit_code == 1 and "are not for arm64" in result.stderr
    (programs / "kubectl").unlink()
    result = flatyard(*build, "--arch", "x86-64")
    assert result.exit_code == 1 and "why: without kubectl" in result.stderr and not packed


def test_a_release_from_a_server_that_is_not_there(flatyard, packed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FLATYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("flatyard.sysext.download.PAUSES", (0, 0))
    result = flatyard("sysext", "build", "kubernetes", "v1.34.3", "--base-url", "http://127.0.0.1:9",
                      "--cni-url", "http://127.0.0.1:9", "--no-signature")  # fmt: skip
    assert result.exit_code == 1
    assert "warning: signatures are not checked, only sums" in result.stderr
    assert "cannot be fetched" in result.stderr and "next: run it again" in result.stderr


def test_a_release_is_downloaded_from_a_mirror(flatyard, packed, programs, tmp_path, monkeypatch) -> None:
    """The mirror is our own server; it has sums and no signatures."""
    mirror, version = tmp_path / "mirror", "v1.34.3"
    folder = mirror / version / "bin/linux/arm64"
    folder.mkdir(parents=True)
    arm = PROGRAM[:18] + b"\xb7\x00" + PROGRAM[20:]
    for name in ("kubeadm", "kubelet", "kubectl"):
        (folder / name).write_bytes(arm + name.encode())
        (folder / f"{name}.sha256").write_text(hashlib.sha256(arm + name.encode()).hexdigest())
    (mirror / "v1.9.1").mkdir()
    archive = mirror / "v1.9.1/cni-plugins-linux-arm64-v1.9.1.tgz"
    for plugin in (programs / "cni").iterdir():
        plugin.write_bytes(arm)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(programs / "cni", ".")
    sums = {("v1.9.1", "arm64"): hashlib.sha256(archive.read_bytes()).hexdigest()}
    monkeypatch.setattr("flatyard.sysext.release.CNI_SUMS", sums)
    monkeypatch.setenv("FLATYARD_CACHE", str(tmp_path / "cache"))
    with Serving(mirror) as url:
        given = ("--base-url", url, "--cni-url", url, "--arch", "arm64", "--to", str(tmp_path / "out"))
        signed = flatyard("sysext", "build", "kubernetes", version, *given)
        assert (
            signed.exit_code == 1 and "has no signature at http://127.0.0.1" in signed.stderr and not packed
        )
        result = flatyard("sysext", "build", "kubernetes", version, *given, "--no-signature")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path}/out/kubernetes-v1.34.3-arm64.raw\n"
    ((entries, _, _),) = packed
    assert entries["usr/bin/kubelet"].source.read_bytes().endswith(b"kubelet")


class Serving:
    """A folder on loopback, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        handler = partial(_Quiet, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever gives up hangs up
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


# ---- inspect


def test_inspect_shows_contents_and_the_answer(flatyard) -> None:
    result = flatyard("sysext", "inspect", str(KUBERNETES))
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines()[:5] == [
        "image      kubernetes-v1.34.3-x86-64.raw  678 B  (squashfs, gzip, blocks of 128.0 KiB)",
        "extension  kubernetes",
        "fits       any OS, x86-64; units are read again",
        "versions   kubernetes v1.34.3, kubernetes-cni v1.7.1",
        "merges     yes, on flatcar",
    ]
    assert re.search(r"^    kubelet +293\.0 KiB$", result.stdout, re.MULTILINE)
    assert "    exec -> /var/kubernetes/exec\n" in result.stdout


def test_inspect_says_why_another_os_would_not_merge_it(flatyard, tmp_path) -> None:
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n')
    shutil.copy(GOLDEN / "flatcar.raw", tmp_path / "tool.raw")
    result = flatyard("sysext", "inspect", str(tmp_path / "tool.raw"), "--os-release", str(tmp_path / "os-release"),
                      "--arch", "x86-64")  # fmt: skip
    assert result.exit_code == 1 and "merges     no, on Debian 13" in result.stdout
    where = "/usr/lib/extension-release.d/extension-release.tool"
    assert (
        f"{where}: ARCHITECTURE: error: the extension is for arm64, the machine is x86-64\n  next: "
        in result.stderr
    )
    assert f"{where}: ID: error: the extension is for flatcar, this OS is debian" in result.stderr


def test_inspect_as_json(flatyard) -> None:
    found = json.loads(flatyard("sysext", "inspect", str(KUBERNETES), "-o", "json").stdout)
    assert (found["extension"], found["merges"], found["findings"]) == ("kubernetes", True, [])
    assert {"path": "/usr/bin/kubelet", "kind": "file", "mode": "0755", "size": 300003} in found["contents"]


def test_inspect_of_something_else(flatyard) -> None:
    result = flatyard("sysext", "inspect", str(GOLDEN / "make"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "why: not a squashfs image" in result.stderr


# ---- feeds


@pytest.fixture
def feed(tmp_path) -> Path:
    folder = tmp_path / "feed"
    (folder / "kubernetes").mkdir(parents=True)
    shutil.copy(KUBERNETES, folder / "kubernetes")
    return folder


def test_feed_list_and_verify(flatyard, feed) -> None:
    result = flatyard("sysext", "feed", str(feed))
    assert result.exit_code == 0 and f"flatyard sysext feed {feed} --base URL" in result.stderr
    result = flatyard("sysext", "feed", str(feed), "--base", "https://feed.example", "-o", "json")
    assert json.loads(result.stdout)["base"] == "https://feed.example"
    (image,) = json.loads(result.stdout)["images"]
    listed = flatyard("sysext", "list", str(feed)).stdout.splitlines()
    assert listed[0].split() == ["EXTENSION", "VERSION", "ARCH", "SIZE", "SHA256"]
    assert listed[1].split() == ["kubernetes", "v1.34.3", "x86-64", "678", "B", image["sha256"][:12]]
    (row,) = json.loads(flatyard("sysext", "list", str(feed), "-o", "json").stdout)
    assert row["sha256"] == image["sha256"]
    assert flatyard("sysext", "verify", str(feed)).stdout.startswith(image["sha256"])
    (feed / "kubernetes" / KUBERNETES.name).write_bytes(b"damaged")
    result = flatyard("sysext", "verify", str(feed))
    assert result.exit_code == 1 and "it is damaged, or was changed" in result.stderr


def test_verify_by_digits(flatyard, feed) -> None:
    image = str(feed / "kubernetes" / KUBERNETES.name)
    assert "there is no sha256" in flatyard("sysext", "verify", image).stderr
    assert flatyard("sysext", "verify", image, "--sha256", "0" * 64).exit_code == 1
    assert flatyard("sysext", "verify", image, "--sha256", "12").exit_code == 2
    assert flatyard("sysext", "verify", str(feed), "--sha256", "0" * 64).exit_code == 2


def test_an_empty_feed_says_how_to_begin(flatyard, tmp_path) -> None:
    result = flatyard("sysext", "feed", str(tmp_path))
    assert result.exit_code == 0 and "flatyard sysext build kubernetes VERSION --to" in result.stderr
    assert flatyard("sysext", "verify", str(tmp_path)).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("mirror", "ftp://x", "DIR"),
        ("mirror", "/a/folder", "DIR"),
        ("feed", "DIR", "--base", "feed.example"),
        ("serve", "DIR", "--listen", "8080"),
        ("serve", "DIR", "--listen", "localhost:http"),
        ("serve", "DIR", "--listen", "localhost:99999"),
    ],
)
def test_addresses_that_are_none_are_usage_errors(flatyard, tmp_path, arguments) -> None:
    given = [str(tmp_path) if argument == "DIR" else argument for argument in arguments]
    result = flatyard("sysext", *given)
    assert result.exit_code == 2 and "Error: Invalid value for" in result.stderr


def test_serve_and_mirror_between_processes(shell, feed, tmp_path) -> None:
    shell.run("sysext", "feed", str(feed), "--base", "https://feed.example")
    server = shell.start("sysext", "serve", str(feed))
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert httpx2.get(f"{url}/noop.conf").status_code == 200
        mirror = ("sysext", "mirror", url, str(tmp_path / "mirror"), "--base", "http://mirror.example")
        assert KUBERNETES.name in shell.run(*mirror)
        copied = tmp_path / "mirror/kubernetes" / KUBERNETES.name
        assert copied.read_bytes() == KUBERNETES.read_bytes()
        assert "http://mirror.example/kubernetes/" in (copied.parent / "kubernetes-v1.34.conf").read_text()
        shell.run(*mirror, "--version", "v1.35", code=2)
    finally:
        server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=20)
    assert (server.returncode, out, err) == (0, "", "stopped\n")


# ---- end to end


@pytest.mark.emulated
def test_a_built_image_is_inspected_fed_and_verified(mksquashfs, shell, programs, tmp_path) -> None:
    feed = tmp_path / "feed"
    build = ("sysext", "build", "kubernetes", "v1.34.3", "--arch", "x86-64", "--from", str(programs))
    first = shell.json(*build, "--to", str(feed / "kubernetes"))
    assert shell.json(*build, "--to", str(tmp_path / "again"))["sha256"] == first["sha256"]
    found = shell.json("sysext", "inspect", first["path"], "--arch", "x86-64")
    assert found["merges"] and found["findings"] == []
    assert found["versions"] == {"kubernetes": "v1.34.3", "kubernetes-cni": "v1.9.1"}
    assert found["format"] == {"compressor": "zstd", "block": 131072}
    shell.run("sysext", "feed", str(feed), "--base", "https://feed.example")
    (checked,) = shell.json("sysext", "verify", str(feed))
    assert (checked["sha256"], checked["trouble"]) == (first["sha256"], "")
    assert Path(first["path"]).stat().st_size == first["size"]
