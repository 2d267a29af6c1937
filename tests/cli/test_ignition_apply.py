"""`flatyard ignition apply`: a config carried out on a directory, as a person at a shell sees it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flatyard import ignition
from flatyard.ignition.types import Disk, Filesystem, KernelArguments, Resource, Storage, User

ROOT = Path(__file__).resolve().parent.parent.parent
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\ncore:x:500:\n")
    return folder


@pytest.fixture
def apply(flatyard, tmp_path, root):
    """Runs the command on a config, given as one or as text."""

    def run(config: ignition.Config | str, *options: str):
        text = config if isinstance(config, str) else ignition.encode(config).decode()
        (tmp_path / "config.ign").write_text(text)
        return flatyard("ignition", "apply", *options, str(tmp_path / "config.ign"), str(root))

    return run


class Pages(BaseHTTPRequestHandler):
    pages: dict[str, bytes] = {}  # noqa: RUF012 - one server per test

    def do_GET(self) -> None:
        body = self.pages.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Nothing on stderr, which is looked at."""


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server on this machine: its address and its pages."""
    pages: dict[str, bytes] = {}
    handler = type("Handler", (Pages,), {"pages": pages})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()


CONFIG = ignition.config(
    files=[ignition.file("/etc/motd", "hello\n", mode=0o600), ignition.file("/srv/a/b", "x", user="core")],
    links=[ignition.link("/etc/issue", "motd")],
    units=[
        ignition.unit("a.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
    ],
)


def test_it_does_what_the_config_says_and_counts_it(apply, root):
    result = apply(CONFIG)
    assert (result.exit_code, result.stdout) == (0, f"{len(list(_below(root))) - 3} created below {root}\n")
    assert (root / "etc/motd").read_text() == "hello\n"
    assert stat.S_IMODE((root / "etc/motd").stat().st_mode) == 0o600
    assert str((root / "etc/issue").readlink()) == "motd"
    assert (root / "etc/.ignition-result.json").exists()
    if IS_ROOT:
        assert result.stderr == ""
        assert (root / "srv/a/b").stat().st_uid == 500
    else:
        assert "could not be set by this user: /srv/a/b (500:0), " in result.stderr


def _below(folder: Path) -> Iterator[Path]:
    """Everything in it; three entries are there from the start."""
    return folder.rglob("*")


def test_verbose_tells_every_entry(apply):
    lines = apply(CONFIG, "-v").stdout.splitlines()
    assert "created   file  /etc/motd  0600  root:root" in lines
    assert "created   dir   /srv/a  0755  root:root" in lines
    assert "created   file  /srv/a/b  0644  core:root" in lines
    assert "created   link  /etc/issue -> motd  root:root" in lines


def test_json_is_the_list_of_changes(apply):
    changes = {change["path"]: change for change in json.loads(apply(CONFIG, "-o", "json").stdout)}
    assert changes["/srv/a/b"] == {
        "path": "/srv/a/b",
        "action": "created",
        "kind": "file",
        "mode": "0644",
        "uid": 500,
        "gid": 0,
        "ownerIsSet": IS_ROOT,
    }
    assert changes["/etc/issue"]["target"] == "motd"


def test_accounts_are_changes_of_their_files(apply, root):
    result = apply(ignition.config(users=[User(name="new", uid=1234, no_create_home=True)]), "-o", "json")
    actions = {change["path"]: change["action"] for change in json.loads(result.stdout)}
    assert actions["/etc/passwd"] == "changed" and actions["/etc/shadow"] == "created"
    assert "new:x:1234:" in (root / "etc/passwd").read_text()


def test_an_invalid_config_touches_nothing(apply, root):
    result = apply('{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"etc/x"}]}}', "--raw-errors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error at $.storage.files.0.path, line 1 col 61: path not absolute\n"
    assert len(list(_below(root))) == 3


def test_a_second_run_says_what_is_in_the_way_and_what_to_do(apply, root):
    apply(CONFIG)
    result = apply(CONFIG)
    assert result.exit_code == 1
    assert "error: /etc/motd: A file exists there already and overwrite is false\n" in result.stderr
    assert "next: give this entry overwrite: true, or begin again with a fresh copy" in result.stderr


def test_what_was_done_before_a_failure_stays_and_is_said(apply, root):
    (root / "taken").touch()
    files = [ignition.file("/first", "1"), ignition.file("/taken", "2"), ignition.file("/third", "3")]
    result = apply(ignition.config(files=files), "-o", "json")
    assert result.exit_code == 1
    assert [change["path"] for change in json.loads(result.stdout)] == ["/first"]
    assert sorted(path.name for path in root.iterdir()) == ["etc", "first", "taken"]


def test_links_lead_nowhere_out_of_the_root(apply, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (root / "up").symlink_to("../outside")
    (root / "abs").symlink_to(tmp_path / "outside")
    result = apply(ignition.config(files=[ignition.file("/abs/f", "x")]))
    assert result.exit_code == 0 and (root / tmp_path.relative_to("/") / "outside/f").read_text() == "x"
    result = apply(ignition.config(files=[ignition.file("/up/f", "x")]))
    assert result.exit_code == 0 and (root / "outside/f").read_text() == "x"
    assert list((tmp_path / "outside").iterdir()) == []


def test_disks_and_kernel_arguments_are_left_out_with_a_warning(apply, root):
    filesystem = Filesystem(device="/dev/sdb1", format="ext4", path="/var/lib/data")
    config = ignition.Config(
        ignition=ignition.Ignition(version="3.4.0"),
        kernel_arguments=KernelArguments(should_exist=("quiet",), should_not_exist=("debug",)),
        storage=Storage(
            disks=(Disk("/dev/sdb"),),
            filesystems=(filesystem,),
            files=(ignition.file("/var/lib/data/f", "x"),),
        ),
    )
    result = apply(config)
    assert result.exit_code == 0 and (root / "var/lib/data/f").exists()
    assert result.stderr.splitlines()[:3] == [
        "warning: a directory has no disks; left out: disk /dev/sdb, filesystem /dev/sdb1 at /var/lib/data",
        "  files below their mount points are written into the directory",
        "warning: kernel arguments are left out: quiet, not debug",
    ]


@pytest.mark.parametrize("name", ["/", "/tmp/.."])
def test_the_running_system_is_refused(flatyard, name):
    result = flatyard("ignition", "apply", "examples/custom.ign", name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {name} is the running system\n  why: ")
    assert "--this-machine" in result.stderr


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_a_root_that_is_no_directory_is_a_usage_error(flatyard, tmp_path, name):
    (tmp_path / "file").touch()
    result = flatyard("ignition", "apply", "examples/custom.ign", str(tmp_path / name))
    assert result.exit_code == 2 and "Invalid value for 'ROOT'" in result.stderr


def test_a_root_that_is_not_writable_is_a_usage_error(flatyard, root, monkeypatch):
    from flatyard.ignition.root_directory import DirectoryRoot

    monkeypatch.setattr(DirectoryRoot, "is_writable", False)
    result = flatyard("ignition", "apply", "examples/custom.ign", str(root))
    assert result.exit_code == 2 and "is not writable" in result.stderr


# ---- what is elsewhere


def remote(url: str, hash: str | None = None) -> ignition.Config:
    return ignition.config(
        files=[ignition.file("/first", "1"), ignition.remote_file("/opt/k", url, hash=hash)]
    )


def test_files_are_fetched_when_their_turn_comes(apply, root, web):
    address, pages = web
    pages["/k"] = b"kubernetes"
    result = apply(remote(f"{address}/k"), "-v")
    assert result.exit_code == 0 and f"fetching {address}/k\n" in result.stderr
    assert (root / "opt/k").read_bytes() == b"kubernetes"


def test_a_missing_resource_stops_the_run_at_its_file(apply, root, web):
    address, _ = web
    result = apply(remote(f"{address}/k"))
    assert result.exit_code == 1
    assert f"error: /opt/k: resource not found: {address}/k\n" in result.stderr
    assert (root / "first").exists() and not (root / "opt/k").exists()


def test_a_wrong_hash_leaves_no_file(apply, root, web):
    address, pages = web
    pages["/k"] = b"something else"
    result = apply(remote(f"{address}/k", hash="sha256-" + "0" * 64))
    assert result.exit_code == 1 and "error: /opt/k: hash verification failed (calculated " in result.stderr
    assert not (root / "opt/k").exists()


def test_a_server_that_does_not_answer_has_a_deadline(apply):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        result = apply(remote(f"http://127.0.0.1:{silent.getsockname()[1]}/k"), "--timeout", "0.2s")
    assert result.exit_code == 1
    assert "trying again" in result.stderr and ": gave up after 0.2 s: " in result.stderr
    assert "next: a longer --timeout; " in result.stderr


@pytest.mark.parametrize(
    "source", ["s3://bucket/key", "gs://bucket/key", "tftp://host/file", "arn:aws:s3:::b/k"]
)
def test_what_only_a_machine_can_fetch_is_refused_before_anything_is_touched(apply, root, source):
    result = apply(remote(source))
    assert result.exit_code == 1 and len(list(_below(root))) == 3
    assert (
        f"why: {source}: {source.split(':')[0]} sources are read by a booting machine only" in result.stderr
    )


def test_offline_names_what_would_have_to_be_fetched(apply, root):
    result = apply(remote("https://user:secret@a.example/k?token=secret"), "--offline")
    assert result.exit_code == 1 and len(list(_below(root))) == 3
    assert "why: --offline, and the config needs https://a.example/k?…" in result.stderr
    assert "secret" not in result.stderr


def with_merge(*sources: str) -> ignition.Config:
    refs = ignition.ConfigRefs(merge=tuple(Resource(source=source) for source in sources))
    return ignition.Config(ignition=ignition.Ignition(config=refs, version="3.4.0"))


def test_merged_configs_are_fetched_first(apply, root, web):
    address, pages = web
    pages["/child"] = ignition.encode(CONFIG)
    assert apply(with_merge(f"{address}/child")).exit_code == 0
    assert (root / "etc/motd").exists()
    offline = apply(with_merge(f"{address}/child"), "--offline")
    assert f"why: ignition.config.merge: {address}/child: not fetched, because of --offline" in offline.stderr


def test_findings_of_a_merged_config_name_it(apply, root, web):
    address, pages = web
    pages["/child"] = b'{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"x"}]}}'
    result = apply(with_merge(f"{address}/child"))
    assert result.exit_code == 1 and len(list(_below(root))) == 3
    assert result.stderr.startswith(f"{address}/child: error at $.storage.files.0.path, line 1 col 61: ")
    assert f"error: nothing was touched: {address}/child cannot be used\n" in result.stderr


PROBE = """
import sys
from flatyard.cli.main import cli
try:
    cli.main(["ignition", "apply", "examples/custom.ign", sys.argv[1]], prog_name="flatyard")
except SystemExit as done:
    assert not done.code
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


def test_nothing_of_the_web_is_loaded_for_a_config_that_has_all(root):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(root)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])},
    )
    loaded = set(done.stderr.split())
    assert {name.split(".")[1] for name in loaded if name.startswith("flatyard.")} == {
        "base",
        "cli",
        "ignition",
    }
    assert {"httpx2", "yaml", "rich", "cryptography"} & loaded == set()
