"""What keeps a machine from becoming a node, told as on a machine: by unit, with the lines that say why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from flatyard.ignition import encode, file, link
from flatyard.ignition.fetch import FetchError, inline_bytes
from flatyard.node import layout
from flatyard.node.evidence import IGNITION, parse_console
from flatyard.sim.machine import Phase
from flatyard.sysext.simulated import simulated_image

IMAGE_PATH = layout.extension_image("v1.34.3", "amd64")
IMAGE_URL = "https://extensions.flatcar.org/extensions/kubernetes/kubernetes-v1.34.3-x86-64.raw"


def with_files(change):
    """A config with other files."""

    def changed(config):
        files = tuple(change(f) for f in config.storage.files)
        files = tuple(f for f in files if f is not None)
        assert files != config.storage.files
        return replace(config, storage=replace(config.storage, files=files))

    return changed


def with_units(change):
    """A config with other units."""

    def changed(config):
        units = tuple(change(u) for u in config.systemd.units)
        units = tuple(u for u in units if u is not None)
        assert units != config.systemd.units
        return replace(config, systemd=replace(config.systemd, units=units))

    return changed


def without_file(path):
    return with_files(lambda f: None if f.path == path else f)


def with_file(path, **fields):
    return with_files(lambda f: replace(f, **fields) if f.path == path else f)


def with_contents(path, edit):
    """The file's own text, changed."""

    def edited(f):
        return replace(f, contents=file(path, edit(inline_bytes(f.contents).decode())).contents)

    return with_files(lambda f: edited(f) if f.path == path else f)


def with_unit(name, **fields):
    return with_units(lambda u: replace(u, **fields) if u.name == name else u)


def without_unit(name):
    return with_units(lambda u: None if u.name == name else u)


def without_links(config):
    return replace(config, storage=replace(config.storage, links=()))


def without_filesystems(config):
    return replace(config, storage=replace(config.storage, filesystems=()))


def first_report(console):
    """The machine's first word: later ones may have lost the early lines to `journalctl -n 10`."""
    head, end, _ = console.partition("flatyard-evidence: end\n")
    return parse_console(head + end)


def with_flipped_hash(entry):
    verification = entry.contents.verification
    last = "0" if verification.hash[-1] != "0" else "1"
    changed = replace(verification, hash=verification.hash[:-1] + last)
    return replace(entry, contents=replace(entry.contents, verification=changed))


flipped_hash = with_files(lambda f: with_flipped_hash(f) if f.path == IMAGE_PATH else f)


def other_link(config):
    links = (link("/etc/extensions/k8s.raw", IMAGE_PATH),)
    return replace(config, storage=replace(config.storage, links=links))


@dataclass(frozen=True)
class Case:
    """One thing wrong; `unit` is what the evidence names (None: the machine says nothing), `said` a part of it."""

    name: str
    unit: str | None
    said: str
    change: Any = None
    hardware: dict[str, Any] = field(default_factory=dict)
    served: bytes | None = None
    refused: FetchError | None = None
    phase: Phase = Phase.NEW


WORKER = (
    Case("sysext file left out", layout.SYSEXT_UNIT, "no kubeadm", without_file(IMAGE_PATH)),
    Case("sysext link left out", layout.SYSEXT_UNIT, "no kubeadm", without_links),
    Case("sysext unit masked", layout.SYSEXT_UNIT, "no kubeadm",
         lambda c: replace(c, systemd=replace(c.systemd, units=(
             *c.systemd.units, replace(c.systemd.units[0], name=layout.SYSEXT_UNIT, mask=True, dropins=(),
                                       enabled=None, contents=None))))),
    Case("sysext under another name", layout.SYSEXT_UNIT, "No medium found", other_link),
    Case("sysext of another architecture", layout.SYSEXT_UNIT, "no kubeadm", without_links, served=None,
         hardware={"arch": "arm64"}),
    Case("one byte of the hash flipped", IGNITION, "hash verification failed", flipped_hash, phase=Phase.EMERGENCY),
    Case("one byte of the image flipped", IGNITION, "hash verification failed", served=b"x" * 100,
         phase=Phase.EMERGENCY),
    Case("image not there", IGNITION, "resource not found", refused=FetchError("resource not found"),
         phase=Phase.EMERGENCY),
    Case("image forbidden", IGNITION, "Forbidden", refused=FetchError("failed to fetch: server said 403 Forbidden"),
         phase=Phase.EMERGENCY),
    Case("kubelet masked", layout.KUBELET_UNIT, "the kubelet is masked", with_unit(layout.KUBELET_UNIT, mask=True)),
    Case("containerd's config broken", layout.CONTAINERD_UNIT, "failed to load TOML",
         with_contents(layout.CONTAINERD_CONFIG, lambda text: text + "[[[\n")),
    Case("containerd's config missing", layout.CONTAINERD_UNIT, "no such file",
         without_file(layout.CONTAINERD_CONFIG)),
    Case("identity script not executable", layout.IDENTITY_UNIT, "Permission denied",
         with_file(layout.IDENTITY_SCRIPT, mode=0o644)),
    Case("identity script missing", layout.IDENTITY_UNIT, "203/EXEC", without_file(layout.IDENTITY_SCRIPT)),
    Case("join unit masked", None, "", with_unit(layout.JOIN_UNIT, mask=True), phase=Phase.STUCK),
    Case("join unit not enabled", None, "", with_unit(layout.JOIN_UNIT, enabled=False), phase=Phase.STUCK),
    Case("kubeadm's config is no YAML", layout.JOIN_UNIT, "error converting YAML",
         with_contents(layout.KUBEADM_CONFIG, lambda text: text + "\n  - : ][")),
    Case("kubeadm's config of another version", layout.JOIN_UNIT, "old API spec",
         with_contents(layout.KUBEADM_CONFIG, lambda text: text.replace("v1beta4", "v1beta3"))),
    Case("another CA pinned", layout.JOIN_UNIT, "cluster CA found in cluster-info ConfigMap is invalid",
         with_contents(layout.KUBEADM_CONFIG, lambda text: text.replace("sha256:", "sha256:0"))),
    Case("a token nobody knows", layout.JOIN_UNIT, "JWS signature",
         with_contents(layout.KUBEADM_CONFIG, lambda text: text.replace("t00000.", "unknwn."))),
    Case("another endpoint", layout.JOIN_UNIT, "does not answer",
         with_contents(layout.KUBEADM_SCRIPT, lambda text: text.replace("api.prod.test", "api.other.test"))),
    Case("user data not JSON", IGNITION, "failed to fetch config", lambda c: b"#cloud-config\n", phase=Phase.EMERGENCY),
    Case("user data of a newer spec", IGNITION, "failed to fetch config",
         lambda c: encode(c).replace(b'"version":"3.4.0"', b'"version":"3.6.0"'), phase=Phase.EMERGENCY),
    Case("user data over the limit", IGNITION, "the limit is 100", hardware={"user_data_limit": 100},
         phase=Phase.EMERGENCY),
)  # fmt: skip


@pytest.mark.parametrize("case", WORKER, ids=lambda case: case.name)
def test_a_broken_worker_never_joins_and_says_why(play, case):
    async def story(lab):
        await lab.cluster()
        if case.served is not None:
            lab.internet.pages[IMAGE_URL] = case.served
        if case.refused is not None:
            lab.internet.refusals[IMAGE_URL] = case.refused
        config = lab.worker("worker-1")
        machine = lab.boot("worker-1", case.change(config) if case.change else config, **case.hardware)
        await asyncio.sleep(2400)
        return await lab.ready(), machine.phase, lab.report("worker-1"), lab.console("worker-1")

    ready, phase, report, console = play(story)
    assert ready == {"cp-0": "True"}
    assert phase is case.phase, console
    if case.unit is None:
        assert report is None, console
        return
    assert report is not None, console
    assert report.unit == case.unit, console
    assert case.said in "\n".join(first_report(console).lines), console


CONTROL_PLANE = (
    Case("no etcd disk", IGNITION, "/dev/xvdf", hardware={"devices": ("/dev/xvda",)}, phase=Phase.EMERGENCY),
    Case("etcd disk not formatted", layout.ETCD_MOUNT, "not mounted", without_filesystems, phase=Phase.STUCK),
    Case("etcd disk not mounted", layout.ETCD_MOUNT, "not mounted", without_unit(layout.ETCD_MOUNT)),
    Case("kubelet masked", layout.KUBELET_UNIT, "the kubelet is masked", with_unit(layout.KUBELET_UNIT, mask=True)),
    Case("sysext left out", layout.SYSEXT_UNIT, "no kubeadm", without_file(IMAGE_PATH)),
    Case("newer Kubernetes than kubeadm", layout.INIT_UNIT, "greater than kubeadm version",
         with_contents(layout.KUBEADM_CONFIG, lambda text: text.replace("kubernetesVersion: v1.34.3",
                                                                        "kubernetesVersion: v1.35.0"))),
    Case("init unit masked", None, "", with_unit(layout.INIT_UNIT, mask=True), phase=Phase.STUCK),
)  # fmt: skip


@pytest.mark.parametrize("case", CONTROL_PLANE, ids=lambda case: case.name)
def test_a_broken_control_plane_makes_no_cluster_and_says_why(play, case):
    async def story(lab):
        config = lab.first()
        machine = lab.boot("cp-0", case.change(config) if case.change else config, **case.hardware)
        await asyncio.sleep(1200)
        return lab.kubernetes.available, machine.phase, lab.report("cp-0"), lab.console("cp-0")

    available, phase, report, console = play(story)
    assert not available
    assert phase is case.phase, console
    if case.unit is None:
        assert report is None, console
        return
    assert report is not None, console
    assert report.unit == case.unit, console
    assert case.said in "\n".join(first_report(console).lines), console


def test_a_control_plane_without_its_keys_does_not_join(play):
    async def story(lab):
        await lab.cluster()
        change = without_file(f"{layout.PKI_FOLDER}/sa.key")
        lab.boot("cp-1", change(lab.control_plane("cp-1")))
        await asyncio.sleep(900)
        return await lab.ready(), lab.report("cp-1")

    ready, report = play(story)
    assert ready == {"cp-0": "True"}
    assert report.unit == layout.JOIN_UNIT
    assert "sa.key" in "\n".join(report.lines)


def test_an_expired_token_is_refused(play):
    async def story(lab):
        await lab.cluster()
        await asyncio.sleep(3600)
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(1500)
        from flatyard.kube import resources as r

        left = [s.name for s in (await lab.api.list(r.SECRETS, "kube-system")).items if "token" in s.name]
        return await lab.ready(), lab.report("worker-1"), left

    ready, report, left = play(story)
    assert ready == {"cp-0": "True"}
    assert report.unit == layout.JOIN_UNIT
    assert "JWS signature" in "\n".join(report.lines)
    assert left == []


def test_a_kubelet_newer_than_the_control_plane_does_not_join(play):
    async def story(lab):
        await lab.cluster()
        lab.internet.pages[IMAGE_URL] = simulated_image("v1.36.1")
        change = with_file(IMAGE_PATH, contents=replace(
            next(f for f in lab.worker("worker-1").storage.files if f.path == IMAGE_PATH).contents,
            verification=replace(lab.worker("worker-1").storage.files[0].contents.verification, hash=None),
        ))  # fmt: skip
        lab.boot("worker-1", change(lab.worker("worker-1")))
        await asyncio.sleep(600)
        return await lab.ready(), lab.report("worker-1")

    ready, report = play(story)
    assert ready == {"cp-0": "True"}
    assert report.unit == layout.JOIN_UNIT
    assert "v1.36.1" in "\n".join(report.lines) or "1.35" in "\n".join(report.lines)


def test_a_worker_waits_for_an_endpoint_that_comes_later(play):
    async def story(lab):
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(240)
        before = lab.machines["worker-1"].phase
        await lab.cluster()
        await asyncio.sleep(300)
        return before, await lab.ready(), lab.console("worker-1")

    before, ready, console = play(story)
    assert before is Phase.NEW
    assert ready == {"cp-0": "True", "worker-1": "True"}
    assert "waiting for https://api.prod.test:6443" in console


def test_a_server_that_stumbles_is_asked_again(play):
    async def story(lab):
        await lab.cluster()
        lab.internet.refusals[IMAGE_URL] = FetchError("503 Service Unavailable", is_final=False)
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(120)
        del lab.internet.refusals[IMAGE_URL]
        await asyncio.sleep(300)
        return await lab.ready(), lab.console("worker-1")

    ready, console = play(story)
    assert ready["worker-1"] == "True"
    assert "attempt #16" in console


def test_the_evidence_goes_out_within_seconds_of_the_failure(play):
    async def story(lab):
        await lab.cluster()
        start = asyncio.get_running_loop().time()
        change = with_unit(layout.KUBELET_UNIT, mask=True)
        lab.boot("worker-1", change(lab.worker("worker-1")))
        while lab.report("worker-1") is None:
            await asyncio.sleep(1)
        return asyncio.get_running_loop().time() - start

    assert play(story) < 60
