"""`flatyard sysext images`, and how compiling is shown."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from flatyard.base.errors import Refused
from flatyard.cli.compiling import shown
from flatyard.cli.talk import Talk
from flatyard.sysext import images
from flatyard.sysext.oci import Archive
from flatyard.sysext.recipes import pause
from flatyard.sysext.source import Progress


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command asks for; the answer is one archive."""
    calls: list[tuple[str, str, dict[str, object]]] = []

    def control_plane(version, arch, **rest):
        calls.append((version, arch, rest))
        rest["say"]("compiling pause 3.10.1 for amd64 (1 of 1), about 5 s")
        return (Archive(Path("out/pause.tar"), ("registry.k8s.io/pause:3.10.1",), 12, "ab" * 32),)

    monkeypatch.setattr(images, "control_plane", control_plane)
    return calls


def test_archives_are_listed_like_a_sums_file(flatyard, asked, tmp_path):
    result = flatyard("sysext", "images", "1.34.3", "--root", str(tmp_path), "--to", "out", "--arch", "arm64")
    assert (result.exit_code, result.stdout) == (0, f"{'ab' * 32}  out/pause.tar\n")
    version, arch, rest = asked[0]
    assert (version, arch, rest["root"], rest["folder"]) == ("v1.34.3", "arm64", tmp_path, Path("out"))
    assert "compiling pause 3.10.1" in result.stderr
    assert "ctr -n k8s.io images import FILE" in result.stderr


def test_quietly_and_as_json(flatyard, asked, tmp_path):
    result = flatyard("sysext", "images", "v1.34.3", "--root", str(tmp_path), "-q", "-o", "json")
    assert result.stderr == ""
    assert json.loads(result.stdout) == [
        {
            "path": "out/pause.tar",
            "images": ["registry.k8s.io/pause:3.10.1"],
            "size": 12,
            "sha256": "ab" * 32,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("latest",), "'latest' is not like v1.34.3."),
        (("v1.20.0",), "Kubernetes v1.20.0 is not supported"),
    ],
)
def test_a_version_that_cannot_be_built(flatyard, tmp_path, arguments, said):
    result = flatyard("sysext", "images", *arguments, "--root", str(tmp_path))
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_root_without_the_tools_is_told_before_anything_is_compiled(flatyard, tmp_path, monkeypatch):
    monkeypatch.setattr(images.source, "compile_all", lambda *_, **__: pytest.fail("it compiled"))
    result = flatyard("sysext", "images", "v1.34.3", "--root", str(tmp_path), "--to", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "install conntrack iptables nftables in it" in result.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_on(stream: io.StringIO, monkeypatch) -> Talk:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FLATYARD_NO_PROGRESS", raising=False)
    return Talk()


def test_on_a_terminal_one_line_moves_and_goes(monkeypatch):
    stream = Terminal()
    with shown(lines_on(stream, monkeypatch)) as lines:
        lines.watch(Progress(pause("3.10.1"), 1, 2, 3, 5))
        lines.watch(Progress(pause("3.10.1"), 1, 2, 4, 5))
        lines.say("pause 3.10.1: 5 s, 2 MB")
    clear = "\r\x1b[K"
    text = "compiling pause 3.10.1 (1 of 2): {} s of about 5 s"
    assert stream.getvalue() == (
        f"{clear}{text.format(3)}{clear}{text.format(4)}{clear}pause 3.10.1: 5 s, 2 MB\n"
    )


def test_a_failure_leaves_no_half_line(monkeypatch):
    stream = Terminal()
    with pytest.raises(Refused), shown(lines_on(stream, monkeypatch)) as lines:
        lines.watch(Progress(pause("3.10.1"), 1, 2, 3, 5))
        raise Refused("no")
    assert stream.getvalue().endswith("\r\x1b[K")


def test_elsewhere_only_lines_that_stay(monkeypatch):
    stream = io.StringIO()
    with shown(lines_on(stream, monkeypatch)) as lines:
        lines.watch(Progress(pause("3.10.1"), 1, 2, 3, 5))
        lines.say("pause 3.10.1: 5 s, 2 MB")
    assert stream.getvalue() == "pause 3.10.1: 5 s, 2 MB\n"
