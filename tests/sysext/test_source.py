"""Compiling with a go that does what a test wants: what a user is told, what is kept, and what is never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.sysext import recipes, source, toolchain
from flatyard.sysext.component import pins
from flatyard.sysext.recipes import Way

# What each case needs is in files beside it: settings for `go env`, an answer to `go mod download`, what `go build`
# says before it ends with a code. Every call is written down with its environment.
FAKE = """\
#!/bin/sh
here=$(dirname "$0")
case "$1" in
env) cat "$here/env.json"; exit 0 ;;
esac
echo "$*" >> "$here/calls"
env | sort > "$here/seen-$1"
case "$1" in
mod) cat "$here/download.json"; exit $(cat "$here/download.code" 2>/dev/null || echo 0) ;;
list) echo "$4 $(cat "$here/versions" 2>/dev/null)"; exit 0 ;;
build)
  [ -e "$here/hang" ] && { echo $$ > "$here/hang"; exec sleep 600; }
  [ -e "$here/said" ] && cat "$here/said" >&2
  [ -e "$here/code" ] && exit $(cat "$here/code")
  while [ "$1" != -o ]; do shift; done
  case "$2" in
  */) for made in "$@"; do case "$made" in ./*) echo "made of $made" > "$2$(basename "$made")" ;; esac; done ;;
  *) echo "made of $3" > "$2" ;;
  esac ;;
esac
"""

RECIPE = recipes.pause("3.10.1")
ETCD = recipes.etcd("v3.6.5")


class Go:
    """The fake go's folder: what it shall say, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "go"
        program.write_text(FAKE)
        program.chmod(0o755)
        self.settings()

    def settings(self, **changed: str) -> None:
        values = {
            "GOVERSION": "go1.26.8",
            "GOHOSTARCH": "amd64",
            "GOPROXY": "https://proxy.example,direct",
            "GOSUMDB": "sum.example",
        }
        self.put("env.json", json.dumps(values | changed))

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def refuses(self, module: str, error: str) -> None:
        self.put("download.json", json.dumps({"Path": module, "Error": error}))
        self.put("download.code", "1")

    def hands_out(self, **about: str) -> None:
        module = self.folder / "module"
        module.mkdir(exist_ok=True)
        (module / "go.mod").write_text("module example\n\ngo 1.24\n")
        facts = {
            "Dir": str(module),
            "GoMod": str(module / "go.mod"),
            "Sum": pins()["go.etcd.io/etcd/server/v3@v3.6.5"],
        }
        self.put("download.json", json.dumps(facts | about))

    def fails(self, said: str, code: int = 1) -> None:
        self.put("said", said)
        self.put("code", str(code))

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def seen(self, verb: str) -> dict[str, str]:
        lines = (self.folder / f"seen-{verb}").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)


@pytest.fixture
def go(tmp_path, monkeypatch, cache) -> Go:
    fake = Go(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    return fake


def left(cache: Path) -> list[str]:
    """What stands in the cache besides locks."""
    programs = cache / "sysext/programs"
    return (
        [path.name for path in programs.iterdir() if not path.name.endswith(".lock")]
        if programs.is_dir()
        else []
    )


# ---- compiling


def test_a_component_is_compiled_once(go, cache):
    said: list[str] = []
    first = source.compile_all([RECIPE], "amd64", say=said.append)["pause"]
    assert first.programs["pause"].read_text() == "made of .\n"
    assert stat.S_IMODE(first.programs["pause"].stat().st_mode) == 0o755
    assert re.fullmatch(r"compiling pause 3\.10\.1 for amd64 \(1 of 1\), about \d+ s", said[0])
    again = source.compile_all([RECIPE], "amd64", say=said.append)["pause"]
    assert (again.folder, again.seconds) == (first.folder, 0.0)
    assert (len(said), len(go.calls)) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "3.10.2"},
        {"flags": (("main.standsFor", "4"),)},
        {"tags": ("netgo",)},
        {"static": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_bytes_is_compiled_anew(go, change):
    before = source.compile_all([RECIPE], "amd64")["pause"].folder
    assert source.compile_all([replace(RECIPE, **change)], "amd64")["pause"].folder != before


def test_another_go_or_architecture_is_compiled_anew(go):
    folders = {source.compile_all([RECIPE], arch)["pause"].folder for arch in ("amd64", "arm64")}
    go.settings(GOVERSION="go1.27.0")
    folders.add(source.compile_all([RECIPE], "amd64")["pause"].folder)
    assert len(folders) == 3


def test_a_component_that_lost_a_program_is_compiled_anew(go):
    program = source.compile_all([RECIPE], "amd64")["pause"].programs["pause"]
    program.write_text("cut")
    assert source.compile_all([RECIPE], "amd64")["pause"].programs["pause"].read_text() == "made of .\n"


def test_a_module_is_compiled_in_a_wrapper(go):
    go.hands_out()
    program = source.compile_all([ETCD], "amd64")["etcd"].programs["etcd"]
    assert program.read_text() == "made of go.etcd.io/etcd/server/v3\n"
    assert go.calls[0] == "mod download -json go.etcd.io/etcd/server/v3@v3.6.5"
    assert go.calls[1].startswith("build -trimpath -buildvcs=false -ldflags -s -w ")


def test_many_programs_of_one_module_are_one_call(go):
    plugins = recipes.cni_plugins("v1.9.1")
    go.hands_out(Sum=pins()["github.com/containernetworking/plugins@v1.9.1"])
    made = source.compile_all([plugins], "amd64")["cni-plugins"]
    assert made.programs["host-local"].read_text() == "made of ./plugins/ipam/host-local\n"
    assert [call.split()[0] for call in go.calls] == ["mod", "build"]


def test_a_record_of_former_runs_is_the_estimate(go, cache):
    made = source.compile_all([RECIPE], "amd64")["pause"]
    record = json.loads((made.folder / source.RECORD).read_text())
    (made.folder / source.RECORD).write_text(json.dumps(record | {"seconds": 200}))
    said: list[str] = []
    go.settings(GOVERSION="go1.27.0")
    source.compile_all([RECIPE], "amd64", say=said.append)
    assert said[0] == "compiling pause 3.10.1 for amd64 (1 of 1), about 3:20 min"


def test_progress_names_component_place_and_time():
    progress = source.Progress(RECIPE, 2, 6, 80, 276)
    assert str(progress) == "compiling pause 3.10.1 (2 of 6): 80 s of about 4:36 min"


# ---- what go sees


def test_go_runs_in_an_environment_of_ours(go, cache, monkeypatch):
    dirty = {
        "GOFLAGS": "-insecure",
        "GONOSUMDB": "*",
        "GONOSUMCHECK": "1",
        "GOPRIVATE": "*",
        "GOINSECURE": "*",
    }
    dirty |= {
        "GOAMD64": "v3",
        "GOEXPERIMENT": "x",
        "CGO_CFLAGS": "-O0",
        "GOWORK": "/x",
        "GOENV": "/x",
        "SECRET": "1",
    }
    for name, value in dirty.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    source.compile_all([RECIPE], "amd64")
    seen = go.seen("build")
    assert {name: seen[name] for name in seen if name.startswith(("GO", "CGO"))} == {
        "GOENV": "off",
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOPROXY": "https://proxy.example",
        "GOSUMDB": "sum.example",
        "GOPATH": str(cache / "go"),
        "GOMODCACHE": str(cache / "go/mod"),
        "GOCACHE": str(cache / "go/build"),
        "GOOS": "linux",
        "GOARCH": "amd64",
        "CGO_ENABLED": "0",
    } | ({"GOMAXPROCS": os.environ["GOMAXPROCS"]} if "GOMAXPROCS" in os.environ else {})
    assert (seen["HTTPS_PROXY"], "SECRET" in seen) == ("http://proxy.example:3128", False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://a.example,direct", "https://a.example"),
        ("https://a.example|direct", "https://a.example"),
        ("https://a.example|https://b.example,direct", "https://a.example|https://b.example"),
        ("direct,https://a.example", "https://a.example"),
        ("https://a.example", "https://a.example"),
        ("off", "off"),
    ],
)
def test_version_control_of_other_hosts_is_never_asked(given, used):
    assert toolchain.proxies_only(given) == used


@pytest.mark.parametrize("given", ["direct", "", ",direct"])
def test_without_a_proxy_nothing_is_asked(given):
    with pytest.raises(Refused, match="Go may ask no module proxy"):
        toolchain.proxies_only(given)


def test_unchecked_modules_are_not_silent(go):
    go.settings(GOSUMDB="off")
    said: list[str] = []
    source.compile_all([RECIPE], "amd64", say=said.append)
    assert said[0] == "warning: GOSUMDB=off: only the modules that flatyard has hashes of are checked"
    assert go.seen("build")["GOSUMDB"] == "off"


# ---- what goes wrong


def failed(recipe=RECIPE) -> Failed | Refused:
    with pytest.raises((Failed, Refused)) as caught:
        source.compile_all([recipe], "amd64")
    return caught.value


def test_no_go(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failed()
    assert (error.what, error.next) == ("there is no `go` on PATH", toolchain.INSTALL)


def test_a_go_that_is_broken(go):
    go.put("env.json", "")
    assert "does not work" in failed().what


def test_a_go_that_is_too_old(go):
    go.settings(GOVERSION="go1.23.1")
    error = failed(ETCD)
    assert error.what == "etcd v3.6.5 needs Go 1.24 or newer"
    assert error.why.endswith("is go1.23.1")
    assert go.calls == []


def test_a_module_that_the_proxy_does_not_have(go):
    where = "https://user:secret@proxy.example/x/@v/v3.6.5.info"
    answer = (
        f"go.etcd.io/etcd/server/v3@v3.6.5: reading {where}: 403 Forbidden\n\tserver response: not available."
    )
    go.refuses("go.etcd.io/etcd/server/v3", answer)
    go.put("versions", "v3.5.35 v3.6.0 v3.6.4 v3.6.8 v3.7.0-rc.0")
    assert str(failed(ETCD)) == (
        "the module proxy does not hand out go.etcd.io/etcd/server/v3@v3.6.5, which etcd v3.6.5 needs\n"
        "  why: it answers 403 Forbidden; it lists v3.6.0, v3.6.4, v3.6.8\n"
        "  next: choose a version that it has, or ask those who run the proxy"
    )


def test_a_proxy_that_does_not_answer(go):
    said = 'go.etcd.io/etcd/server/v3@v3.6.5: Get "http://u:p@127.0.0.1:1/x": dial tcp 127.0.0.1:1: connection refused'
    go.refuses("go.etcd.io/etcd/server/v3", said)
    error = failed(ETCD)
    assert error.what == "etcd v3.6.5: the module proxy does not answer"
    assert "u:p@" not in str(error)


def test_a_module_that_is_not_what_it_was(go):
    go.hands_out(Sum="h1:AAAA")
    assert failed(ETCD).what.startswith(
        "go.etcd.io/etcd/server/v3@v3.6.5 is not what it was: h1:AAAA, not h1:"
    )


@pytest.mark.parametrize(
    ("said", "what", "next"),
    [
        (
            "verifying x@v1: checksum mismatch\n",
            "etcd v3.6.5: a module is not what it was",
            "before you know why",
        ),
        (
            "x/y@v1.2.3: verifying module: x/y@v1.2.3: reading https://sum.example/lookup: 404 Not Found",
            "etcd v3.6.5: the checksum database does not vouch for x/y@v1.2.3",
            "nothing is used unverified",
        ),
        ("write /x: no space left on device\n", "etcd v3.6.5: the disk is full", "FLATYARD_CACHE"),
        ("go: x requires go >= 1.99 (running go 1.26.8)", "etcd v3.6.5 needs Go 1.99 or newer", "install Go"),
        ("x: signal: killed\n", "etcd v3.6.5: the compiler was killed", "GOMAXPROCS=1"),
        ("./a.go:1: undefined: b\n", "etcd v3.6.5 does not compile: go ended with 1", "another Go release"),
    ],
)
def test_what_a_failing_compiler_says_is_understood(go, cache, said, what, next):
    go.hands_out()
    go.fails(said)
    error = failed(ETCD)
    assert (error.what, next in error.next) == (what, True)
    assert left(cache) == []


def test_a_compile_error_shows_its_last_lines_only(go):
    go.hands_out()
    go.fails("go: downloading x v1\n" + "".join(f"line {n}\n" for n in range(40)))
    assert failed(ETCD).why.splitlines()[1:] == [f"    line {n}" for n in range(25, 40)]


def test_too_little_space_is_known_before_minutes_go_by(go, monkeypatch):
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000_000))
    error = failed(recipes.kubernetes("v1.34.3"))
    assert error.why == "1.0 GB are free, about 6.5 GB are needed"
    assert go.calls == []


def test_missing_c_libraries_are_known_before_minutes_go_by(go, monkeypatch):
    monkeypatch.setitem(source._HEADERS, "libblkid-dev", "no/such/header.h")
    error = failed(recipes.ignition())
    assert error.what == "ignition v2.24.0 needs a C compiler and libraries"
    assert error.next == "apt-get install gcc libc6-dev libblkid-dev"
    assert go.calls == []


def test_c_for_another_architecture_is_refused(go):
    with pytest.raises(Refused, match=r"ignition v2\.24\.0 is not compiled for arm64 on amd64"):
        source.compile_all([recipes.ignition()], "arm64")


# ---- interruptions, and others at the same time


def test_an_interrupted_build_leaves_nothing_and_ends_the_compiler(go, cache):
    os.mkfifo(go.folder / "hang")

    async def interrupted() -> None:
        task = asyncio.create_task(source.compile_each([RECIPE], "amd64"))
        await asyncio.to_thread((go.folder / "hang").read_text)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert left(cache) == []
    (go.folder / "hang").unlink()
    assert source.compile_all([RECIPE], "amd64")["pause"].programs["pause"].exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_takes_its_compilers_with_it(go, cache, number):
    """Found where compilers of a terminated run went on for minutes, alone."""
    os.mkfifo(go.folder / "hang")
    code = (
        "from flatyard.sysext import recipes, source; source.compile_all([recipes.pause('3.10.1')], 'amd64')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as run:
        compiler = int((go.folder / "hang").read_text())
        run.send_signal(number)
        assert run.wait(20) != 0
    assert (
        not Path(f"/proc/{compiler}").exists() or "State:\tZ" in Path(f"/proc/{compiler}/status").read_text()
    )
    assert left(cache) == []


def test_what_a_killed_run_left_is_not_taken_for_a_result(go, cache):
    made = source.compile_all([RECIPE], "amd64")["pause"].folder
    shutil.rmtree(made)
    half = made.with_name(f".{made.name}.work")
    (half / "out").mkdir(parents=True)
    (half / "out/pause").write_text("half")
    assert source.compile_all([RECIPE], "amd64")["pause"].programs["pause"].read_text() == "made of .\n"
    assert left(cache) == [made.name]


def test_who_comes_second_waits_and_compiles_nothing(go):
    said: list[str] = []

    async def both() -> None:
        await asyncio.gather(*(source.compile_each([RECIPE], "amd64", say=said.append) for _ in range(2)))

    asyncio.run(both())
    assert len(go.calls) == 1
    assert "waiting: another run compiles pause 3.10.1" in said


def test_programs_of_kubernetes_become_an_image(go):
    """All commands are one file, which the image has once."""
    go.hands_out(Sum=pins()["k8s.io/kubernetes@v1.34.3"])
    (go.folder / "module/go.mod").write_text(
        "module k8s.io/kubernetes\n\ngo 1.24.0\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
    )
    kubernetes = source.compile_all([recipes.kubernetes("v1.34.3")], "amd64")
    go.hands_out(Sum=pins()["github.com/containernetworking/plugins@v1.9.1"])
    found = source.binaries("v1.34.3", "amd64")
    program = kubernetes["kubernetes"].programs["kubernetes"]
    assert {found.paths[name] for name in ("kubeadm", "kubelet", "kubectl")} == {program}
    assert (found.version, found.cni_version, found.arch) == ("v1.34.3", "v1.9.1", "amd64")
    assert "cni/bridge" in found.paths
    assert all(recipe.way is not Way.OURS for recipe in recipes.node_recipes("v1.34.3"))
