"""A machine that Exosphere shows as Ready: its user, its passphrase, and what it says on the console."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flatyard.base.errors import InvalidInput, Refused
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.facts import traits
from flatyard.clouds.openstack.facts import FACTS
from flatyard.ignition import Config, encode
from flatyard.ignition.dataurl import decode
from flatyard.ignition.parse import read
from flatyard.model import documents
from flatyard.node import layout
from flatyard.node.exosphere import SERVER_METADATA, exosphere_script
from flatyard.node.inputs import ClusterSettings, JoinWorker, MachineIdentity, NodeRole, PoolSettings
from flatyard.node.render import render
from flatyard.pki import new_token
from flatyard.sysext.simulated import simulated_feed

GOLDEN = Path(__file__).parent / "golden" / "exosphere.json"
VERSION = "v1.34.3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ada@example"
CLUSTER = ClusterSettings(
    name="lab", id="01JCLUSTER0000000000000000", kubernetes=VERSION, endpoint_host="api.lab.example"
)


def machine(*, exosphere: bool, cloud: str = "openstack") -> Config:
    token = new_token(SeededWorld(1, lambda: 0.0, SIMULATED_EPOCH))
    pool = PoolSettings(
        role=NodeRole.WORKER,
        name="node",
        kubelet=VERSION,
        image=simulated_feed().image(VERSION),
        ssh_keys=(KEY, KEY),
    )
    return render(
        replace(CLUSTER, exosphere=exosphere),
        pool,
        MachineIdentity(id="01J00000000000000000000000", name="lab-node-1"),
        replace(traits(FACTS), cloud=cloud),
        JoinWorker(token, "sha256:00"),
    )


def parts(config: Config) -> dict[str, object]:
    """What of a config is Exosphere's: users, the unit, the script's lines."""
    (script,) = (f for f in config.storage.files if f.path == layout.EXOSPHERE_SCRIPT)
    (unit,) = (u for u in config.systemd.units if u.name == layout.EXOSPHERE_UNIT)
    text = exosphere_script(traits(FACTS))
    assert script.mode == 0o700
    return {
        "users": json.loads(encode(config))["passwd"]["users"],
        "enabled": unit.enabled,
        "unit": (unit.contents or "").splitlines(),
        "script": text.splitlines(),
    }


def test_a_machine_for_exosphere_has_exactly_this_more() -> None:
    found = json.dumps(parts(machine(exosphere=True)), indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_ignition_takes_it_without_a_word() -> None:
    config = machine(exosphere=True)
    document = read(encode(config))
    assert document.report == () and document.config == config


def test_nothing_else_differs_and_plain_use_as_core_is_the_default() -> None:
    plain, more = machine(exosphere=False), machine(exosphere=True)
    assert [user.name for user in plain.passwd.users] == ["core"]
    assert [user.name for user in more.passwd.users] == ["core", "exouser"]
    own = (layout.EXOSPHERE_SCRIPT, layout.EXOSPHERE_UNIT)
    assert plain.storage.files == tuple(f for f in more.storage.files if f.path not in own)
    assert plain.systemd.units == tuple(u for u in more.systemd.units if u.name not in own)


def test_its_user_has_sudo_and_docker_and_the_keys_and_no_password_in_the_user_data() -> None:
    user = machine(exosphere=True).passwd.users[-1]
    assert (user.groups, user.ssh_authorized_keys, user.password_hash) == (("sudo", "docker"), (KEY,), None)


def test_the_metadata_service_is_closed_to_pods_before_the_passphrase_is_posted() -> None:
    (unit,) = (u for u in machine(exosphere=True).systemd.units if u.name == layout.EXOSPHERE_UNIT)
    assert f"After=network-online.target {layout.METADATA_UNIT}\n" in (unit.contents or "")


def test_elsewhere_there_is_no_exosphere() -> None:
    with pytest.raises(Refused, match="aws has no Exosphere"):
        machine(exosphere=True, cloud="aws")
    text = (
        "apiVersion: flatyard.dev/v1alpha1\nkind: Cluster\nmetadata: {name: lab}\n"
        "spec:\n  cloud: {sim: {as: aws}}\n  access: {exosphere: true}\n"
    )
    with pytest.raises(InvalidInput) as error:
        documents.read([("lab.yaml", text)])
    assert [str(p) for p in error.value.problems] == [
        "lab.yaml:6:23: error: spec.access.exosphere: Exosphere is a face of OpenStack; there is none elsewhere;"
        " allowed: false"
    ]


# ---- what the script does


@dataclass
class Nova:
    """The password resource of Nova's metadata service: one POST, 409 after it, until somebody deletes it."""

    kept: bytes = b""
    posts: list[bytes] = field(default_factory=list)
    lose_reply: bool = False
    url: str = ""


@pytest.fixture
def nova() -> Iterator[Nova]:
    state = Nova()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, state.kept)

        def do_POST(self) -> None:
            found = self.rfile.read(int(self.headers["Content-Length"]))
            state.posts.append(found)
            if state.kept:
                return self._answer(409, b"")
            state.kept = found
            return self._answer(409 if state.lose_reply else 200, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/openstack/latest/password"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Machine:
    """A folder that stands for the machine: its log, its state, and what chpasswd was told."""

    folder: Path
    script: Path

    def run(self, *args: str) -> int:
        shell = shutil.which("dash") or "/bin/sh"
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run([shell, self.script, *args], env=environment, check=False).returncode

    @property
    def statuses(self) -> list[str]:
        """As Exosphere reads a console: the JSON between a line's first and last brace, where it has a status."""
        log = self.folder / "kmsg"
        lines = log.read_text().splitlines() if log.exists() else []
        found = [json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in lines]
        assert all(isinstance(line["epoch"], int) and line["epoch"] > 10**12 for line in found)
        return [line["status"] for line in found]

    @property
    def passwords(self) -> list[str]:
        told = self.folder / "shadow"
        return told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def box(tmp_path: Path, nova: Nova) -> Machine:
    text = exosphere_script(traits(FACTS))
    for old, new in {
        "/proc/sys/kernel/printk_devkmsg": str(tmp_path / "printk"),
        ">/dev/kmsg": f">>{tmp_path / 'kmsg'}",
        "/var/lib/flatyard": str(tmp_path / "lib"),
        "http://169.254.169.254/openstack/latest/password": nova.url,
        "sleep 1\n": "",
        layout.SERIAL_CONSOLES: str(tmp_path / "no-console"),
        "--retry 20 --retry-delay 3": "--retry 0",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    script = tmp_path / "exosphere"
    script.write_text(text)
    (tmp_path / "bin").mkdir()
    told = tmp_path / "bin" / "chpasswd"
    told.write_text(f'#!/bin/sh\n[ "$*" = -e ]||exit 9\ncat >>{tmp_path / "shadow"}\n')
    told.chmod(0o755)
    return Machine(tmp_path, script)


PASSPHRASE = re.compile(rb"[a-hjkmnp-z2-9]{5}(-[a-hjkmnp-z2-9]{5}){4}")


def test_the_passphrase_is_set_and_posted_once_and_the_machine_shows_ready(box: Machine, nova: Nova) -> None:
    assert box.run() == 0
    assert box.statuses == ["running", "complete"]
    assert PASSPHRASE.fullmatch(nova.kept) and len(nova.posts) == 1
    (line,) = box.passwords
    user, hash = line.split(":")
    salt = hash.split("$")[2]
    again = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"], input=nova.kept, capture_output=True, check=True
    )
    assert (user, hash) == ("exouser", again.stdout.decode().strip())
    assert sorted(path.name for path in (box.folder / "lib").iterdir()) == ["exosphere.done"]


def test_two_machines_have_two_passphrases(box: Machine, nova: Nova) -> None:
    box.run()
    first, nova.kept = nova.kept, b""
    box.run()
    assert first != nova.kept


def test_a_run_after_a_crash_goes_on_with_the_same_passphrase(box: Machine, nova: Nova) -> None:
    nova.lose_reply = True
    lib = box.folder / "lib"
    lib.mkdir()
    (lib / "exosphere.passphrase").write_text("aaaaa-bbbbb-ccccc-ddddd-eeeee")
    assert box.run() == 0, "the POST was answered with 409, but what is kept there is ours"
    assert nova.kept == b"aaaaa-bbbbb-ccccc-ddddd-eeeee"
    assert box.statuses[-1] == "complete"


def test_another_ones_passphrase_is_an_error_and_ours_stays_for_root_only(box: Machine, nova: Nova) -> None:
    nova.kept = b"somebody else's"
    assert box.run() != 0
    assert box.statuses == ["running"]
    kept = box.folder / "lib" / "exosphere.passphrase"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not (box.folder / "lib" / "exosphere.done").exists()
    assert box.run("error") == 0
    assert box.statuses == ["running", "error"]


def test_the_server_waits_in_exospheres_words_from_its_creation_on() -> None:
    assert SERVER_METADATA["exoServerVersion"] == "6"
    assert json.loads(SERVER_METADATA["exoSetup"]) == {"status": "waiting", "epoch": None}
    assert all(FACTS.tags.fits(key, value) for key, value in SERVER_METADATA.items())


def test_evidence_goes_to_the_serial_line_that_nova_reads() -> None:
    (entry,) = (f for f in machine(exosphere=False).storage.files if f.path == layout.EVIDENCE_SCRIPT)
    source = decode(entry.contents.source or "")
    import gzip

    text = (gzip.decompress(source) if entry.contents.compression == "gzip" else source).decode()
    assert "for t in /dev/ttyS0 /dev/ttyAMA0;do [ ! -c $t ]||cat $f>$t;done" in text
