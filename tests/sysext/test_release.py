"""Upstream releases: what a right server gives, and each way in which one can be wrong."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from flatyard.base.errors import Failed
from flatyard.sysext.download import ATTEMPTS, Downloader, NotThere, WrongBytes
from flatyard.sysext.kubernetes_tree import Binaries
from flatyard.sysext.release import CNI_SUMS, Release, unpack_plugins
from flatyard.sysext.signature import WrongSignature
from flatyard.sysext.versions import MINORS

VERSION, CNI, ARCH = "v1.34.3", "v1.9.1", "amd64"
FOLDER = f"/{VERSION}/bin/linux/{ARCH}"
ARCHIVE = f"/{CNI}/cni-plugins-linux-{ARCH}-{CNI}.tgz"
PLUGINS = ("bridge", "host-local", "loopback", "portmap")


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./ptp")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def upstream(web, signing):
    for name in ("kubeadm", "kubelet", "kubectl"):
        body = f"{name} of a test, no real one".encode() * 1000
        signature, certificate = signing.sign(body)
        web.files[f"{FOLDER}/{name}"] = body
        web.files[f"{FOLDER}/{name}.sha256"] = hashlib.sha256(body).hexdigest().encode()
        web.files[f"{FOLDER}/{name}.sig"] = signature
        web.files[f"{FOLDER}/{name}.cert"] = certificate
    web.files[ARCHIVE] = archive({f"./{name}": name.encode() for name in PLUGINS} | {"./LICENSE": b"text"})
    return web


@pytest.fixture
def get(upstream, signing, cache):
    def run(version: str = VERSION, **options: object) -> Binaries:
        sums = {(CNI, ARCH): hashlib.sha256(upstream.files[ARCHIVE]).hexdigest()}
        given = {
            "signer": signing.signer,
            "cni_sums": sums,
            "downloader": Downloader(pauses=(0, 0)),
        } | options
        release = Release(base_url=upstream.url, cni_url=upstream.url, **given)
        return asyncio.run(release.binaries(version, CNI, ARCH))

    return run


def test_a_release_is_downloaded_checked_and_kept(get, upstream) -> None:
    said: list[str] = []
    found = get(say=said.append)
    assert sorted(found.paths) == [*(f"cni/{name}" for name in PLUGINS), "kubeadm", "kubectl", "kubelet"]
    assert found.paths["kubelet"].read_bytes() == upstream.files[f"{FOLDER}/kubelet"]
    assert (found.version, found.cni_version, found.arch, found.origin) == (
        VERSION,
        CNI,
        ARCH,
        "upstream release",
    )
    assert "kubelet v1.34.3: sha256 and signature of 2025-01-31 are right" in said
    upstream.asked.clear()
    get()
    asked = {path for path, _ in upstream.asked}
    assert asked == {
        f"{FOLDER}/{name}.{what}"
        for name in ("kubeadm", "kubelet", "kubectl")
        for what in ("sha256", "sig", "cert")
    }, "programs are not downloaded again, but their signatures are"


def test_links_and_texts_of_the_archive_are_left_out(get) -> None:
    assert not {"cni/ptp", "cni/LICENSE"} & set(get().paths)


def test_a_wrong_sum(get, upstream) -> None:
    upstream.files[f"{FOLDER}/kubelet.sha256"] = b"0" * 64
    with pytest.raises(WrongBytes, match="linux/amd64/kubelet is not what it should be"):
        get()


def test_a_sum_that_is_none(get, upstream) -> None:
    upstream.files[f"{FOLDER}/kubelet.sha256"] = b"sorry"
    with pytest.raises(WrongBytes, match=r"kubelet\.sha256 is not what it should be"):
        get()


def test_other_bytes_with_a_sum_of_their_own_have_no_right_signature(get, upstream) -> None:
    """A server that was broken into can change both; it cannot sign."""
    upstream.files[f"{FOLDER}/kubelet"] = b"a trojan"
    upstream.files[f"{FOLDER}/kubelet.sha256"] = hashlib.sha256(b"a trojan").hexdigest().encode()
    with pytest.raises(WrongSignature, match=r"kubelet v1\.34\.3 is not signed as Kubernetes"):
        get()
    assert get(signed=False).paths["kubelet"].read_bytes() == b"a trojan", (
        "which is what --no-signature gives up"
    )


def test_a_signature_of_somebody_else(get, upstream, signing) -> None:
    body = upstream.files[f"{FOLDER}/kubectl"]
    signature, certificate = signing.sign(body, identity="eve@example.org")
    upstream.files[f"{FOLDER}/kubectl.sig"], upstream.files[f"{FOLDER}/kubectl.cert"] = signature, certificate
    with pytest.raises(WrongSignature) as problem:
        get()
    assert "eve@example.org" in problem.value.why


def test_a_missing_signature(get, upstream) -> None:
    del upstream.files[f"{FOLDER}/kubectl.sig"]
    with pytest.raises(NotThere, match="has no signature") as problem:
        get()
    assert "--no-signature" in problem.value.next
    get(signed=False)


def test_a_version_that_is_not_released(get) -> None:
    with pytest.raises(NotThere, match=r"there is no Kubernetes v1\.34\.99 for amd64") as problem:
        get("v1.34.99")
    assert "https://kubernetes.io/releases/" in problem.value.next


def test_a_page_of_html_instead_of_a_program(get, upstream) -> None:
    upstream.html.add(f"{FOLDER}/kubelet")
    with pytest.raises(WrongBytes) as problem:
        get()
    assert "HTML" in problem.value.why


def test_a_program_that_is_cut_short_for_ever(get, upstream) -> None:
    upstream.cut[f"{FOLDER}/kubelet"] = [100] * ATTEMPTS
    with pytest.raises(Failed) as problem:
        get()
    assert "cut short" in problem.value.why
    get()


def test_a_redirect_to_a_server_that_lies(get, upstream, webs) -> None:
    liar = webs()
    liar.files["/kubelet"] = b"something else"
    upstream.redirects[f"{FOLDER}/kubelet"] = f"{liar.url}/kubelet"
    with pytest.raises(WrongBytes):
        get()


def test_the_plugins_sum_is_ours_whatever_the_server_says(get, upstream) -> None:
    upstream.files[f"{ARCHIVE}.sha256"] = hashlib.sha256(upstream.files[ARCHIVE]).hexdigest().encode()
    with pytest.raises(WrongBytes, match=r"cni-plugins-linux-amd64-v1\.9\.1\.tgz"):
        get(cni_sums=CNI_SUMS)
    get(cni_sums={})


def test_an_archive_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"no archive")
    with pytest.raises(Failed, match="cannot be unpacked"):
        unpack_plugins(tmp_path / "archive", tmp_path / "plugins")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_every_version_has_pinned_plugins() -> None:
    assert all((minor.cni, arch) in CNI_SUMS for minor in MINORS for arch in ("amd64", "arm64"))
