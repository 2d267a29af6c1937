"""Feeds: what is written, what is found damaged, what a mirror fetches, and what a server hands out."""

from __future__ import annotations

import asyncio
import configparser
import hashlib
import os
from email.utils import formatdate
from pathlib import Path

import httpx2
import pytest

from flatyard.base.errors import Failed, InvalidInput, Refused
from flatyard.sysext.download import Downloader
from flatyard.sysext.feed import parse_feed
from flatyard.sysext.feed_folder import (
    check_folder,
    check_image,
    listed,
    named,
    natural,
    read_sums,
    write_feed,
)
from flatyard.sysext.mirror import choose, mirror
from flatyard.sysext.serve import application, serving

BASE = "https://feed.example/ext"
VERSIONS = ("v1.34.9", "v1.34.10", "v1.35.4")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in (*(f"kubernetes-{version}-x86-64.raw" for version in VERSIONS), "docker-28.0.4-arm64.raw"):
        path = tmp_path / "feed" / name.partition("-")[0] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"bytes of {name}".encode())
    return tmp_path / "feed"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".raw")


# ---- names


def test_names_are_taken_apart_as_the_redirector_does_it() -> None:
    image = named("docker-buildx-0.30.1-x86-64.raw")
    assert image and (image.extension, image.version, image.arch) == ("docker-buildx", "0.30.1", "x86-64")
    rc = named("kubernetes-v1.36.0-rc.1-arm64.raw")
    assert rc and (rc.extension, rc.version) == ("kubernetes", "v1.36.0-rc.1")
    assert named("kubernetes.raw") is None and named("kubernetes-v1.34.3-s390x.raw") is None
    assert sorted(["v1.10.0", "v1.9.0", "1.9", "latest"], key=natural) == [
        "1.9",
        "latest",
        "v1.9.0",
        "v1.10.0",
    ]


# ---- writing


def test_a_feed_has_the_bakerys_files(folder) -> None:
    written = write_feed(folder, f"{BASE}/")
    assert [image.name for image, _ in written.images] == [
        "docker-28.0.4-arm64.raw",
        *(f"kubernetes-{version}-x86-64.raw" for version in VERSIONS),
    ]
    plain = [name for name in files(folder) if "." in name or "SUMS" in name]
    assert plain == [
        "SHA256SUMS",
        "docker.conf",
        "docker/SHA256SUMS",
        "docker/docker.conf",
        "kubernetes.conf",
        "kubernetes/SHA256SUMS",
        "kubernetes/kubernetes-v1.34.conf",
        "kubernetes/kubernetes-v1.35.conf",
        "kubernetes/kubernetes.conf",
        "noop.conf",
    ]
    feed = parse_feed((folder / "kubernetes/SHA256SUMS").read_text(), base=BASE)
    assert feed.versions() == VERSIONS
    image = feed.image("v1.34.10")
    path = folder / image.url.removeprefix(f"{BASE}/")
    assert sha256(path.read_bytes()) == image.sha256
    sums = (folder / "SHA256SUMS").read_text()
    assert sums == (folder / "docker/SHA256SUMS").read_text() + (folder / "kubernetes/SHA256SUMS").read_text()


def test_transfer_files_follow_one_minor_or_all(folder) -> None:
    write_feed(folder, BASE)

    def read(name: str) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(folder / name)
        return parser

    assert read("kubernetes/kubernetes-v1.34.conf")["Source"]["MatchPattern"] == "kubernetes-v1.34.@v-%a.raw"
    assert read("kubernetes.conf")["Source"]["MatchPattern"] == "kubernetes-@v-%a.raw"
    assert read("docker.conf")["Source"]["Path"] == f"{BASE}/docker/"
    assert read("docker.conf")["Target"]["CurrentSymlink"] == "/etc/extensions/docker.raw"


def test_writing_again_changes_nothing_and_a_new_image_what_it_must(folder) -> None:
    write_feed(folder, BASE)
    assert write_feed(folder).changed == (), "and without --base the address is kept"
    (folder / "kubernetes/kubernetes-v1.36.1-x86-64.raw").write_bytes(b"new")
    changed = {path.name for path in write_feed(folder).changed}
    assert changed == {"SHA256SUMS", "kubernetes-v1.36.conf"}
    assert write_feed(folder, "https://other.example").base == "https://other.example"
    assert "https://other.example/kubernetes/" in (folder / "kubernetes.conf").read_text()


def test_without_an_address_there_are_sums_but_no_transfer_files(folder) -> None:
    assert write_feed(folder).base == ""
    assert [name for name in files(folder) if name.endswith(".conf")] == ["noop.conf"]


def test_images_in_the_wrong_place_are_refused_with_the_command_that_moves_them(folder) -> None:
    (folder / "kubernetes-v1.33.6-arm64.raw").write_bytes(b"")
    with pytest.raises(Refused, match="not in its extension's folder") as problem:
        write_feed(folder, BASE)
    there = folder / "kubernetes"
    assert problem.value.next == f"mkdir -p {there} && mv {folder}/kubernetes-*.raw {there}/"
    (folder / "kubernetes-v1.33.6-arm64.raw").rename(folder / "docker/whatever.raw")
    with pytest.raises(Refused, match="has no name for a feed"):
        write_feed(folder, BASE)


# ---- reading and checking


def test_listing_is_by_version_and_names_what_is_pinned(folder) -> None:
    rows = listed(folder)
    assert [row.image.version for row in rows] == ["28.0.4", *VERSIONS]
    assert {row.pinned for row in rows} == {""}
    write_feed(folder)
    assert all(row.pinned == sha256(row.path.read_bytes()) for row in listed(folder))
    assert len(listed(folder / "kubernetes")) == 3


def test_damaged_missing_and_unlisted_images_are_found(folder) -> None:
    write_feed(folder)
    assert not [row for row in check_folder(folder) if row.trouble]
    (folder / "docker/docker-28.0.4-arm64.raw").write_bytes(b"flipped")
    (folder / "kubernetes/kubernetes-v1.34.9-x86-64.raw").unlink()
    (folder / "kubernetes/kubernetes-v1.36.1-x86-64.raw").write_bytes(b"new")
    troubles = {row.path.name: row.trouble for row in check_folder(folder) if row.trouble}
    assert set(troubles) == {
        "docker-28.0.4-arm64.raw",
        "kubernetes-v1.34.9-x86-64.raw",
        "kubernetes-v1.36.1-x86-64.raw",
    }
    assert "it is damaged" in troubles["docker-28.0.4-arm64.raw"]
    assert "not there" in troubles["kubernetes-v1.34.9-x86-64.raw"]
    assert "not in SHA256SUMS" in troubles["kubernetes-v1.36.1-x86-64.raw"]


def test_one_image_is_checked_by_its_neighbour_or_by_digits(folder) -> None:
    image = folder / "docker/docker-28.0.4-arm64.raw"
    with pytest.raises(Failed, match="no sha256 for docker"):
        check_image(image)
    assert check_image(image, sha256(image.read_bytes()).upper()).trouble == ""
    assert "another sha256" in check_image(image, "0" * 64).trouble
    write_feed(folder)
    assert check_image(image).trouble == ""


def test_sums_that_are_none_are_told_line_by_line(tmp_path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'a' * 64}  good.raw\n<html>\n\noops\n")
    with pytest.raises(InvalidInput) as problem:
        read_sums(tmp_path / "SHA256SUMS")
    assert [str(found).split(":")[1] for found in problem.value.problems] == ["2", "4"]
    assert read_sums(tmp_path / "nowhere") == {}


# ---- mirroring


def names(offered: list[str], versions: tuple[str, ...], arches: tuple[str, ...] = ("x86-64",)) -> list[str]:
    images = [image for name in offered if (image := named(name))]
    return [f"{image.version}/{image.arch}" for image in choose(images, versions, arches)]


OFFERED = [
    f"kubernetes-{version}-{arch}.raw"
    for version in ("v1.20.1", "v1.34.9", "v1.34.10", "v1.35.0-rc.1", "v1.35.4")
    for arch in ("x86-64", "arm64")
]


def test_a_mirror_takes_the_newest_patch_of_each_minor_unless_told_otherwise() -> None:
    assert names(OFFERED, ()) == ["v1.34.10/x86-64", "v1.35.4/x86-64"]
    assert names(OFFERED, ("v1.34", "1.20.1")) == ["v1.20.1/x86-64", "v1.34.9/x86-64", "v1.34.10/x86-64"]
    assert names(OFFERED, ("v1.35.4",), ("arm64", "x86-64")) == ["v1.35.4/arm64", "v1.35.4/x86-64"]
    assert names(["docker-28.0.4-x86-64.raw", "docker-27.1.0-x86-64.raw"], ()) == ["28.0.4/x86-64"]


def test_versions_that_a_feed_does_not_have_are_named_with_those_that_it_has() -> None:
    with pytest.raises(Refused, match=r"no image of v1\.34\.99, v1\.40") as problem:
        names(OFFERED, ("v1.34.99", "v1.34.9", "v1.40"))
    assert problem.value.why.endswith("v1.34.10, v1.35.0-rc.1, v1.35.4")


def run_mirror(url: str, target: Path, **options: object) -> dict[str, bool]:
    async def run() -> dict[str, bool]:
        async with Downloader(pauses=(0, 0)) as downloader:
            found = await mirror(url, target, downloader=downloader, **options)
        return {one.image.version: one.fetched for one in found}

    return asyncio.run(run())


@pytest.fixture
def upstream(web, folder):
    """The feed of `folder` on a server."""
    write_feed(folder, BASE)
    for path in folder.rglob("*"):
        if path.is_file():
            web.files[f"/{path.relative_to(folder)}"] = path.read_bytes()
    return web


def test_a_mirror_is_a_feed_and_is_fetched_once(upstream, tmp_path) -> None:
    target = tmp_path / "mirror"
    assert run_mirror(upstream.url, target) == {"v1.34.10": True, "v1.35.4": True}
    assert run_mirror(upstream.url, target, versions=("v1.34",)) == {"v1.34.9": True, "v1.34.10": False}
    write_feed(target, "http://mirror.example")
    assert not [row for row in check_folder(target) if row.trouble]


def test_a_mirror_keeps_nothing_that_does_not_hash_right(upstream, tmp_path) -> None:
    upstream.files["/kubernetes/kubernetes-v1.35.4-x86-64.raw"] = b"something else"
    target = tmp_path / "mirror"
    with pytest.raises(Failed, match=r"v1\.35\.4-x86-64\.raw is not what it should be"):
        run_mirror(upstream.url, target, versions=("v1.35.4",))
    assert list((target / "kubernetes").iterdir()) == []


def test_names_that_would_lead_out_of_the_folder_are_no_images(upstream, tmp_path) -> None:
    evil = ("docker-1/../../../../evil-x86-64.raw", "../docker-1-x86-64.raw", "docker/../docker-2-x86-64.raw")
    assert [named(name) for name in evil] == [None, None, None]
    upstream.files["/docker/SHA256SUMS"] = "".join(f"{'a' * 64}  {name}\n" for name in evil).encode()
    with pytest.raises(Refused, match="has no images"):
        run_mirror(upstream.url, tmp_path / "mirror", extension="docker")


def test_a_mirror_of_a_page_of_html_is_refused(upstream, tmp_path) -> None:
    upstream.html.add("/kubernetes/SHA256SUMS")
    with pytest.raises(Failed, match="SHA256SUMS is not what it should be"):
        run_mirror(upstream.url, tmp_path / "mirror")


# ---- serving


def asked(folder: Path, *requests: tuple[str, str, dict[str, str]]) -> list[httpx2.Response]:
    async def run() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(application(folder))
        async with httpx2.AsyncClient(transport=transport, base_url="http://feed") as client:
            return [await client.request(method, path, headers=headers) for method, path, headers in requests]

    return asyncio.run(run())


IMAGE = "/kubernetes/kubernetes-v1.35.4-x86-64.raw"


def test_a_server_hands_out_parts_and_heads(folder) -> None:
    content = (folder / IMAGE[1:]).read_bytes()
    whole, head, part, rest, beyond = asked(
        folder,
        ("GET", IMAGE, {}),
        ("HEAD", IMAGE, {}),
        ("GET", IMAGE, {"Range": "bytes=3-5"}),
        ("GET", IMAGE, {"Range": "bytes=10-"}),
        ("GET", IMAGE, {"Range": "bytes=10000-"}),
    )
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, content, "bytes")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert (part.status_code, part.content) == (206, content[3:6])
    assert part.headers["content-range"] == f"bytes 3-5/{len(content)}"
    assert (rest.status_code, rest.content) == (206, content[10:])
    assert beyond.status_code == 416


def test_a_server_says_what_has_not_changed(folder) -> None:
    os.utime(folder / IMAGE[1:], (1_700_000_000, 1_700_000_000))
    (first,) = asked(folder, ("GET", IMAGE, {}))
    same, dated, other = asked(
        folder,
        ("GET", IMAGE, {"If-None-Match": first.headers["etag"]}),
        ("GET", IMAGE, {"If-Modified-Since": formatdate(1_700_000_001, usegmt=True)}),
        ("GET", IMAGE, {"If-None-Match": '"other"'}),
    )
    assert (same.status_code, dated.status_code, other.status_code) == (304, 304, 200)


def test_a_server_finds_images_where_the_redirector_does(folder) -> None:
    found = asked(folder, *(("GET", f"{way}/docker-28.0.4-arm64.raw", {}) for way in ("", "/docker", "/any")))
    assert [answer.status_code for answer in found] == [200, 200, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/kubernetes/..%2f..%2fsecret",
        "/out/secret",
        "/link",
        "/.hidden",
        "/kubernetes/.x.part",
        "//etc/passwd",
        "/kubernetes",
        "/",
        "/%00",
        "/a" * 3000,
        "/evil-..-x86-64.raw",
    ],
)
def test_a_server_hands_out_nothing_else(folder, path) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "out").symlink_to(folder.parent)
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / ".hidden").write_text("secret")
    (folder / "kubernetes/.x.part").write_text("secret")
    (answer,) = asked(folder, ("GET", path, {}))
    assert answer.status_code == 404 and b"secret" not in answer.content


def test_a_server_takes_nothing(folder) -> None:
    (answer,) = asked(folder, ("PUT", IMAGE, {}))
    assert answer.status_code == 405


def test_a_mirror_of_our_own_server(folder, tmp_path) -> None:
    write_feed(folder, BASE)
    said: list[str] = []

    async def run() -> None:
        async with serving(folder, say=said.append) as url, Downloader() as downloader:
            await mirror(url, tmp_path / "mirror", versions=["v1.35.4"], downloader=downloader)

    asyncio.run(run())
    assert (tmp_path / "mirror" / IMAGE[1:]).read_bytes() == (folder / IMAGE[1:]).read_bytes()
    assert any(line.endswith("GET /kubernetes/SHA256SUMS 200") for line in said)


def test_an_address_that_is_taken_is_told(folder) -> None:
    async def run() -> None:
        async with serving(folder) as url:
            port = int(url.rpartition(":")[2])
            with pytest.raises(Failed, match=f"cannot listen at 127.0.0.1:{port}"):
                async with serving(folder, port=port):
                    pass

    asyncio.run(run())
