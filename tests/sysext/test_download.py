"""Files by HTTP: checked, resumed, and never kept when they are not what they should be."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from flatyard.base.errors import Failed
from flatyard.sysext.download import ATTEMPTS, Download, Downloader, NotThere, WrongBytes, together

BODY = bytes(range(256)) * 5000
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def said() -> list[str]:
    return []


def fetch(url: str, target: Path, said: list[str], sha256: str = SUM) -> bool:
    async def run() -> bool:
        async with Downloader(say=said.append, pauses=(0, 0)) as downloader:
            return await downloader.fetch(Download(url, target, sha256))

    return asyncio.run(run())


def small(url: str) -> bytes:
    async def run() -> bytes:
        async with Downloader(pauses=(0, 0)) as downloader:
            return await downloader.small(url)

    return asyncio.run(run())


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    assert fetch(f"{web.url}/x", tmp_path / "x", said)
    assert (tmp_path / "x").read_bytes() == BODY
    assert not fetch(f"{web.url}/x", tmp_path / "x", said)
    assert len(web.asked) == 1 and left(tmp_path) == ["x"]


def test_a_file_that_was_damaged_on_disk_is_fetched_again(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    (tmp_path / "x").write_bytes(BODY[:-1] + b"?")
    assert fetch(f"{web.url}/x", tmp_path / "x", said)
    assert (tmp_path / "x").read_bytes() == BODY


def test_it_goes_on_where_a_connection_broke(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    web.cut["/x"] = [1000, 70_000]
    fetch(f"{web.url}/x", tmp_path / "x", said)
    assert (tmp_path / "x").read_bytes() == BODY
    assert [given for _, given in web.asked] == ["", "bytes=1000-", "bytes=71000-"]
    assert "cut short after 1000" in said[0] and "trying again" in said[0]


def test_it_starts_over_where_a_server_knows_no_ranges(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    web.cut["/x"] = [1000]
    web.ignores_ranges = True
    fetch(f"{web.url}/x", tmp_path / "x", said)
    assert (tmp_path / "x").read_bytes() == BODY


def test_the_next_run_goes_on_where_one_gave_up(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    web.cut["/x"] = [1000] * ATTEMPTS
    with pytest.raises(Failed, match="cannot be fetched") as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "5 times" in problem.value.why and "goes on where it stopped" in problem.value.next
    assert left(tmp_path) == [".x.part"]
    web.asked.clear()
    fetch(f"{web.url}/x", tmp_path / "x", said)
    assert web.asked == [("/x", "bytes=5000-")] and left(tmp_path) == ["x"]


def test_what_another_file_left_behind_is_thrown_away_once(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    (tmp_path / ".x.part").write_bytes(b"other" * 100)
    fetch(f"{web.url}/x", tmp_path / "x", said)
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_busy_server_is_asked_again(web, tmp_path, said) -> None:
    web.files["/x"] = BODY
    web.failing["/x"] = [503, 429]
    fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "503" in said[0] and "429" in said[1]


def test_other_bytes_are_told_and_not_kept(web, tmp_path, said) -> None:
    web.files["/x"] = b"quota exceeded\n"
    with pytest.raises(WrongBytes, match="is not what it should be") as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "15 bytes" in problem.value.why and "it begins: quota exceeded" in problem.value.why
    assert left(tmp_path) == []


def test_a_page_of_html_is_told_as_one(web, tmp_path, said) -> None:
    web.html.add("/x")
    with pytest.raises(WrongBytes) as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "HTML" in problem.value.why
    assert (tmp_path / "x").exists() is False


def test_a_redirect_to_another_server_is_followed_and_its_bytes_are_checked(webs, tmp_path, said) -> None:
    first, second = webs(), webs()
    first.redirects["/x"] = f"{second.url}/y"
    second.files["/y"] = BODY
    fetch(f"{first.url}/x", tmp_path / "x", said)
    second.files["/y"] = b"elsewhere"
    with pytest.raises(WrongBytes):
        fetch(f"{first.url}/x", tmp_path / "z", said)


def test_redirects_without_end_and_to_files_are_refused(web, tmp_path, said) -> None:
    web.redirects["/x"] = "/x"
    with pytest.raises(Failed, match="/x cannot be fetched") as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "more than 10 redirects" in problem.value.why
    web.redirects["/x"] = "file:///etc/passwd"
    with pytest.raises(Failed) as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "not safe to follow" in problem.value.why


def test_a_missing_file_and_a_closed_door_have_their_own_words(web, tmp_path, said) -> None:
    with pytest.raises(NotThere, match="/x is not there"):
        fetch(f"{web.url}/x", tmp_path / "x", said)
    web.failing["/x"] = [403]
    with pytest.raises(Failed) as problem:
        fetch(f"{web.url}/x", tmp_path / "x", said)
    assert "403" in problem.value.why and said == []


def test_a_server_that_is_not_there_is_asked_five_times(web, tmp_path, said) -> None:
    with pytest.raises(Failed, match="cannot be fetched"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", said)
    assert len(said) == ATTEMPTS - 1


def test_a_checksum_is_not_a_gigabyte(web) -> None:
    web.files["/sum"] = bytes(1 << 17)
    with pytest.raises(WrongBytes) as problem:
        small(f"{web.url}/sum")
    assert "larger than 65536" in problem.value.why
    web.files["/sum"] = b"abc"
    assert small(f"{web.url}/sum") == b"abc"


def test_two_runs_for_one_file_do_not_spoil_each_other(web, tmp_path, said) -> None:
    web.files["/x"] = BODY

    async def run() -> tuple[bool, ...]:
        async with Downloader(pauses=(0, 0)) as downloader:
            download = Download(f"{web.url}/x", tmp_path / "x", SUM)
            return await together([downloader.fetch(download), downloader.fetch(download)])

    asyncio.run(run())
    assert (tmp_path / "x").read_bytes() == BODY and left(tmp_path) == ["x"]


def test_of_several_failures_one_is_raised_by_itself() -> None:
    async def fails() -> None:
        raise NotThere("here")

    with pytest.raises(NotThere):
        asyncio.run(together([fails(), fails()]))
