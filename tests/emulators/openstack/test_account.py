"""Permissions and images in a project of its own: access rules that suffice, one that lacks, an import."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emulators.openstack.bench import OpenstackBench
from emulators.openstack.services import Services
from flatyard.base.errors import Failed
from flatyard.clouds import conformance
from flatyard.clouds.cloud import ImageQuery, Rejected
from flatyard.clouds.openstack import openpgp
from flatyard.clouds.openstack.image_import import Source, import_image

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parent.parent.parent.parent
RULES = ROOT / "src/flatyard/clouds/openstack/access_rules.json"
SIGNED = ROOT / "tests/clouds/openstack/signed"
ENOUGH = (
    conformance.create_makes_what_was_asked_for,
    conformance.sweep_is_empty_after_deleting,
    *(
        check
        for check in conformance.CHECKS
        if check.__name__ in ("a_stash_ends", "preflight_finds_nothing_wrong")
    ),
)


@pytest.mark.parametrize("named", ENOUGH, ids=lambda c: c.__name__)
def test_the_access_rules_of_the_docs_suffice(
    services: Services, project: str, named: conformance.Check
) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        try:
            services.image(bench.user)
            bench.held_to(json.loads(RULES.read_text()))
            await named(bench)
        finally:
            bench.wipe()
            await bench.close()

    services.stage.run(main)


def test_a_rule_that_lacks_is_named(services: Services, project: str) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        try:
            rules = [rule for rule in json.loads(RULES.read_text()) if rule["path"] != "/v2.0/networks"]
            held = bench.held_to(rules)
            with pytest.raises(Rejected, match=r"no access rule for POST /v2.0/networks") as said:
                await held.ensure_network(bench.ref, bench.cluster)
            assert "docs/openstack.md" in said.value.next
        finally:
            await bench.close()

    services.stage.run(main)


def test_a_machine_takes_a_port_and_a_server_and_no_other_call(services: Services, project: str) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        adapter = bench.restarted()
        try:
            services.image(bench.user)
            first = await conformance.request(bench)
            await adapter.create(first)  # with what is asked for once
            before = adapter.client.calls.count
            for number in (2, 3):
                machine_id = bench.machine_id(number)
                await adapter.create(replace(first, machine_id=machine_id, name=f"general-{number:04d}"))
            assert adapter.client.calls.count - before == 2 * 2
            assert len(await adapter.machines(bench.ref)) == 3
            assert adapter.client.calls.count - before == 2 * 2 + 1
        finally:
            bench.wipe()
            await bench.close()

    services.stage.run(main)


def test_a_reader_may_look_and_is_told_what_it_may_not(services: Services, project: str) -> None:
    async def main() -> None:
        account = services.account(project, role="reader")
        bench = OpenstackBench(services, account)
        try:
            assert await bench.cloud.machines(bench.ref) == ()
            with pytest.raises(Rejected, match=r"lacks create_network .*POST /v2.0/networks"):
                await bench.cloud.ensure_network(bench.ref, bench.cluster)
        finally:
            await bench.close()

    services.stage.run(main)


# ---- import


@dataclass
class Mirror:
    """A release server on the stage. `cut`: it ends after so many bytes, that often."""

    files: dict[str, bytes]
    cut: int = 0
    times: int = 0
    ranges: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 8990), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = mirror.files.get(self.path.lstrip("/"))
                if body is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range", "")
                mirror.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                part = body[start:]
                if mirror.times:
                    mirror.times -= 1
                    part = part[: mirror.cut]
                self.wfile.write(part)

            def log_message(self, format: str, *words: object) -> None:
                return

        return Handler


@pytest.fixture
def mirror(services: Services) -> Iterator[Mirror]:
    made = Mirror({path.name: path.read_bytes() for path in SIGNED.iterdir()})
    services.stage.inside(made.start)
    yield made
    assert made.server is not None
    made.server.shutdown()
    made.server.server_close()


SOURCE = Source(
    "stable", "4593.2.7", url="http://127.0.0.1:8990/image.img.gz", key=(SIGNED / "key.asc").read_text()
)


def test_an_image_is_imported_once_and_goes_on_where_it_was_cut(
    services: Services, project: str, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.cut, mirror.times = 40, 1
    said: list[str] = []

    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        adapter = bench.restarted()
        try:
            made = await import_image(adapter.client, SOURCE, said.append, folder=tmp_path)
            again = await import_image(adapter.client, SOURCE, said.append, folder=tmp_path)
            assert made == again and (made.version, made.arch) == ("4593.2.7", "amd64")
            assert await adapter.images(ImageQuery("stable", None)) == (made,)
            (shown,) = bench.user.image.images()
            assert (shown.status, shown.disk_format, shown.os_distro) == ("active", "qcow2", "flatcar")
            assert shown.min_disk == 10 and shown.hw_disk_bus == "virtio"
            assert shown.properties["flatcar_channel"] == "stable"
        finally:
            await bench.close()

    services.stage.run(main)
    assert "bytes=40-" in mirror.ranges
    assert any("trying again" in line for line in said) and any("is there already" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_what_another_key_signed_is_not_uploaded(
    services: Services, project: str, mirror: Mirror, tmp_path: Path
) -> None:
    other = Source("stable", "4593.2.7", url=SOURCE.url, key=(SIGNED / "other.asc").read_text())

    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        adapter = bench.restarted()
        try:
            with pytest.raises(openpgp.WrongSignature):
                await import_image(adapter.client, other, lambda _: None, folder=tmp_path)
            assert list(bench.user.image.images()) == []
        finally:
            await bench.close()

    services.stage.run(main)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_is_not_there_is_told(
    services: Services, project: str, mirror: Mirror, tmp_path: Path
) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        adapter = bench.restarted()
        try:
            missing = Source("stable", "4593.2.9", url="http://127.0.0.1:8990/none.img.gz", key=SOURCE.key)
            with pytest.raises(Failed, match=r"none.img.gz cannot be fetched"):
                await import_image(adapter.client, missing, lambda _: None, folder=tmp_path)
        finally:
            await bench.close()

    services.stage.run(main)
