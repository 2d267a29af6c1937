"""`flatyard images`: what a region really has, what a release ships, what a cluster is pinned to."""

from __future__ import annotations

import http.server
import json
import logging
import sys
import threading
from types import ModuleType

import pytest

from flatyard.cli import images_import
from flatyard.cli.images_lookup import Account, Row, cluster_of, doubtful_region, not_there_yet
from flatyard.clouds import calls, table
from flatyard.clouds.cloud import Image, Transient
from flatyard.model.machines import BY_CLOUD

TWINS = sorted(set(BY_CLOUD) - {"local"})


def listed(flatyard, *args):
    result = flatyard("images", "list", "--cloud", "sim", "-o", "json", *args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_table_says_what_each_image_ships_and_stars_the_newest(flatyard):
    result = flatyard(
        "images", "list", "--cloud", "sim", "--as", "gcp", "--region", "europe-west3", "--channel", "beta"
    )
    assert result.exit_code == 0
    assert result.stdout == (
        "CHANNEL   VERSION        ARCH    RELEASED     IGNITION   SPEC    SYSTEMD   KERNEL     IMAGE\n"
        "beta      4757.1.0   *   amd64   2026-08-13   2.24.0     3.5.0   260       6.12.102   "
        "projects/kinvolk-public/global/images/flatcar-beta-4757-1-0\n"
        "beta      4515.1.0       amd64   2025-12-18   2.22.0     3.5.0   257       6.12.61    "
        "projects/kinvolk-public/global/images/flatcar-beta-4515-1-0\n"
    )
    assert result.stderr == "these are the images of the simulated twin of gcp europe-west3\n"


@pytest.mark.parametrize("twin", TWINS)
def test_every_twin_lists_its_images_in_all_channels(flatyard, twin):
    found = listed(flatyard, "--as", twin, "--channel", "all")
    assert found["simulated"] is True and found["cloud"] == twin
    assert {image["channel"] for image in found["images"]} == {"stable", "beta", "alpha", "lts"}
    newest = [image for image in found["images"] if image["newest"]]
    kinds = {(image["channel"], image["arch"], image["generation"]) for image in found["images"]}
    assert len(newest) == len(kinds)
    assert len({image["reference"] for image in found["images"]}) == len(found["images"])


def test_images_with_kubernetes_baked_in_are_listed_for_flavor_image(flatyard):
    found = listed(flatyard, "--as", "azure", "--arch", "amd64", "--kubernetes", "1.34.3")
    assert {image["kubernetes"] for image in found["images"]} == {"v1.34.3"}
    assert all(image["reference"].endswith("-capi-v1.34.3") for image in found["images"])
    assert not any("kubernetes" in image for image in listed(flatyard, "--as", "azure")["images"])


def test_azure_has_generations_and_arm64_only_the_second(flatyard):
    result = flatyard("images", "list", "--cloud", "sim", "--as", "azure", "--arch", "arm64")
    head, first, *_ = result.stdout.splitlines()
    assert "GENERATION" in head
    assert first.split()[:5] == ["stable", "4593.2.5", "*", "arm64", "gen2"]
    assert first.endswith("kinvolk:flatcar-container-linux-corevm:stable:4593.2.5")


def test_old_releases_are_counted_and_shown_when_asked_for(flatyard):
    args = ("images", "list", "--cloud", "sim", "--as", "gcp")
    short, whole = flatyard(*args), flatyard(*args, "--all")
    assert "5 older ones are not shown; --all shows them" in short.stderr
    assert len(whole.stdout.splitlines()) == len(short.stdout.splitlines()) + 5
    assert "3815.2.2" in whole.stdout and "3815.2.2" not in short.stdout


def test_a_row_as_json_says_what_the_release_has(flatyard):
    (first, *_) = listed(flatyard, "--as", "aws", "--channel", "lts", "--arch", "amd64")["images"]
    assert first | {"reference": ""} == {
        "channel": "lts",
        "version": "4081.3.10",
        "newest": True,
        "arch": "amd64",
        "generation": "",
        "reference": "",
        "name": "Flatcar-lts-4081.3.10-hvm",
        "released": "2026-08-13",
        "ignition": "2.19.0",
        "spec": "3.4.0",
        "systemd": 255,
        "kernel": "6.6.150",
        "containerd": "1.7.21",
        "docker": "26.1.0",
    }


def test_a_release_that_a_region_does_not_have_yet_is_named():
    rows = [Row("stable", Image("a", "a", "4593.2.2", "amd64"), newest=True)]
    assert [known.version for known in not_there_yet(rows, ("stable", "beta"))] == ["4593.2.5"]
    rows.append(Row("stable", Image("b", "b", "4593.2.9", "amd64"), newest=True))
    assert not_there_yet(rows, ("stable",)) == ()


def test_the_image_of_this_machine_is_called_a_stand_in(flatyard, monkeypatch):
    monkeypatch.delenv("FLATYARD_LOCAL_IMAGE", raising=False)
    result = flatyard("images", "list", "--cloud", "local")
    (line,) = result.stdout.splitlines()[1:]
    assert line.split()[-1].startswith("stand-in:")
    assert line.split()[4:9] == ["-"] * 5


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--cloud", "sim"), "--as is needed with this cloud"),
        (("--cloud", "aws"), "--region is needed with this cloud"),
        (("--cloud", "gcp"), "  next: flatyard images list --cloud sim --as gcp\n"),
        (("--cloud", "sim", "--as", "aws", "--region", "eu-cental-1"), "did you mean 'eu-central-1'?"),
        (("--cloud", "sim", "--as", "asw"), "'asw' is not one of"),
        (("--cloud", "sim", "--as", "local"), "'local' is not one of"),
        (("--cloud", "digitalocean"), "flatyard does not run Flatcar on DigitalOcean: the cloud offers no"),
        (("--cloud", "asw"), "'asw' is not one of"),
        (
            ("--cloud", "sim", "--as", "aws", "--kubernetes", "new"),
            "--kubernetes new is not a version like v1",
        ),
        (("--cloud", "vsphere"), "  next: flatyard images list --cloud sim --as vsphere\n"),
    ],
)
def test_a_wrong_account_is_told_before_anything_is_asked(flatyard, args, said):
    result = flatyard("images", "list", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stdout == ""


class Broken:
    """An adapter whose cloud does not answer, and whose SDK writes to the log what it thinks of that."""

    def __init__(self):
        self.calls = calls.Calls(
            lambda what, no: Transient(f"{what}: the connection broke"), per_second=1e6, burst=9
        )

    async def images(self, query):
        def call():
            logging.getLogger("sdk").warning("token=hunter2")
            raise ConnectionError

        return await self.calls.read("listing images", call)

    async def close(self):
        await self.calls.close()


def test_a_cloud_that_does_not_answer_is_waited_for_in_sentences_and_ends_with_what_to_do(
    flatyard, monkeypatch
):
    monkeypatch.setattr(calls, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(calls, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(table, "connect", lambda cluster, world: Broken())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of a command, without pytest's own
    result = flatyard("images", "list", "--cloud", "aws", "--region", "eu-central-1", "-o", "json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        *["listing images: the connection broke; trying again in 0 s"] * 4,
        "error: listing images: the connection broke",
        "  next: the same command again; docs/clouds.md says what must be reached from here",
    ]


def test_a_misspelt_region_that_does_not_answer_ends_with_the_right_spelling(flatyard, monkeypatch):
    monkeypatch.setattr(calls, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(calls, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(table, "connect", lambda cluster, world: Broken())
    result = flatyard("images", "list", "--cloud", "aws", "--region", "eu-cental-1")
    assert result.exit_code == 1
    assert result.stderr.endswith("  next: flatyard images list --cloud aws --region eu-central-1\n")


class Stale:
    """A project whose only image is an old one."""

    async def images(self, query):
        return (Image("1-2", "flatcar", "3815.2.2", query.arch),) if query.arch == "amd64" else ()

    async def close(self):
        pass


def test_a_project_with_an_old_image_hears_how_the_current_one_gets_there(flatyard, monkeypatch):
    monkeypatch.setattr(table, "connect", lambda cluster, world: Stale())
    result = flatyard("images", "list", "--cloud", "openstack", "--os-cloud", "js2")
    assert result.exit_code == 0
    assert "openstack does not have it yet" in result.stderr
    assert (
        "  flatyard images import --cloud openstack --os-cloud js2 --channel stable  # brings"
        in result.stderr
    )


def test_what_a_release_ships(flatyard):
    result = flatyard("images", "show", "4593.2.5")
    assert (result.exit_code, result.stdout) == (
        0,
        "release     Flatcar 4593.2.5, channel stable, 2026-08-13\n"
        "ignition    2.24.0, reads specifications up to 3.5.0\n"
        "systemd     257\n"
        "kernel      6.12.102\n"
        "containerd  2.1.5\n"
        "docker      28.0.4\n"
        "nodes       yes\n",
    )
    found = json.loads(flatyard("images", "show", "3510.2.0", "-o", "json").stdout)
    assert (found["spec"], found["usable"]) == ("3.3.0", False)


def test_a_release_that_nobody_knows(flatyard):
    result = flatyard("images", "show", "9999.2.0")
    assert result.exit_code == 1
    assert "Flatcar 9999.2.0 is not in this flatyard's release data" in result.stderr


def test_a_cluster_that_nobody_knows(flatyard):
    result = flatyard("images", "show", "nope")
    assert result.exit_code == 1 and "there is no cluster 'nope'" in result.stderr


CLUSTER = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {name: pinned}
spec:
  cloud: {sim: {as: azure, region: westeurope}}
  flatcar: {version: 4593.2.2}
"""


def test_what_a_cluster_is_pinned_to_and_what_is_newer(flatyard, tmp_path):
    path = tmp_path / "pinned.yaml"
    path.write_text(CLUSTER)
    assert flatyard("up", "-q", str(path)).exit_code == 0
    result = flatyard("images", "show", "pinned")
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert told["cluster"] == "pinned on the simulated twin of azure westeurope"
    assert told["flatcar"] == "4593.2.2 of 2026-05-27; Ignition 2.24.0, kernel 6.12.91"
    assert told["image"] == "kinvolk:flatcar-container-linux-corevm-amd64:stable-gen2:4593.2.2  amd64"
    assert told["kubernetes"].startswith("v1.34.3/amd64  sha256 ")
    assert told["newer"] == (
        "4593.2.5 of 2026-08-13 is there: news, not a change; machines go on with 4593.2.2"
    )
    found = json.loads(flatyard("images", "show", "pinned", "-o", "json").stdout)
    assert (found["flatcar"], found["newer"], found["simulated"]) == ("4593.2.2", "4593.2.5", True)


# ---- import


@pytest.fixture
def glance(monkeypatch):
    """OpenStack's end of an import: what it was asked for; the answer is one image."""
    asked = []

    class Source:
        def __init__(self, **fields):
            self.fields = fields

    async def import_image(client, source, tell):
        tell("uploading: 450 of 450 MiB")
        asked.append((client, source.fields))
        version, arch = source.fields["version"], source.fields["arch"]
        return Image("11111111-2222", f"flatcar-stable-{version}-{arch}", version, arch)

    class Adapter:
        client = "the account's client"

        async def close(self):
            asked.append("closed")

    work = ModuleType("flatyard.clouds.openstack.image_import")
    work.Source, work.import_image = Source, import_image
    monkeypatch.setitem(sys.modules, work.__name__, work)
    monkeypatch.setattr(table, "connect", lambda cluster, world: Adapter())
    monkeypatch.setattr(images_import, "CURRENT", "http://127.0.0.1:9/{channel}/{arch}")
    return asked


def test_import_brings_the_newest_known_release_and_names_it(flatyard, glance):
    result = flatyard("images", "import", "--cloud", "openstack", "--os-cloud", "jetstream2")
    assert (result.exit_code, result.stdout) == (0, "11111111-2222\n")
    assert glance == [
        ("the account's client", {"channel": "stable", "version": "4593.2.5", "arch": "amd64"}),
        "closed",
    ]
    assert "uploading: 450 of 450 MiB" in result.stderr


def test_import_asks_nobody_for_a_release_before_it_has_an_account(flatyard, monkeypatch, tmp_path):
    monkeypatch.setattr(images_import, "_newest", lambda *_: pytest.fail("the release server was asked"))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none"))
    result = flatyard("images", "import", "--cloud", "openstack", "--os-cloud", "nope")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "  next: write a clouds.yaml" in result.stderr


def test_import_without_a_word_from_the_release_server_says_which_release_it_takes(flatyard, glance):
    result = flatyard("images", "import", "--cloud", "openstack", "--channel", "beta")
    assert "http://127.0.0.1:9/beta/amd64 does not tell the current release" in result.stderr
    assert glance[0][1]["version"] == "4757.1.0"


@pytest.fixture
def release_server(monkeypatch):
    """Answers every question for the current release with what a test puts into it."""
    told = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = told[-1].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/{{channel}}/{{arch}}"
    monkeypatch.setattr(images_import, "CURRENT", url)
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def test_import_takes_the_release_that_is_current_today(flatyard, glance, release_server):
    release_server.append("FLATCAR_BUILD=4593\nFLATCAR_VERSION=4593.2.9\nFLATCAR_VERSION_ID=4593.2.9\n")
    assert flatyard("images", "import", "--cloud", "openstack").exit_code == 0
    assert glance[0][1]["version"] == "4593.2.9"


def test_import_believes_no_page_that_is_something_else(flatyard, glance, release_server):
    release_server.append("<html>log in first</html>")
    result = flatyard("images", "import", "--cloud", "openstack")
    assert "it says no version" in result.stderr and glance[0][1]["version"] == "4593.2.5"


def test_import_from_a_mirror_needs_a_version(flatyard, glance):
    result = flatyard("images", "import", "--cloud", "openstack", "--url", "https://mirror.example/i.gz")
    assert result.exit_code == 2 and "--url needs --version" in result.stderr


def test_import_of_a_version_is_of_its_own_channel(flatyard, glance, tmp_path):
    key = tmp_path / "key.asc"
    key.write_text("armoured")
    args = (
        "--version",
        "4081.3.10",
        "--arch",
        "arm64",
        "--url",
        "https://mirror.example/i.gz",
        "--key",
        str(key),
    )
    result = flatyard("images", "import", "--cloud", "openstack", "-o", "json", *args)
    assert json.loads(result.stdout)["version"] == "4081.3.10"
    assert glance[0][1] == {
        "channel": "lts",
        "version": "4081.3.10",
        "arch": "arm64",
        "url": "https://mirror.example/i.gz",
        "key": "armoured",
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--cloud", "aws", "--region", "eu-central-1"), "Amazon Web Services has Flatcar's images already"),
        (("--cloud", "azure"), "Microsoft Azure has Flatcar's images already"),
        (("--cloud", "sim", "--as", "openstack"), "a simulated twin has all its images already"),
        (("--cloud", "local"), "machines on this one boot a disk image where it lies"),
        (("--cloud", "gcp"), "  next: flatyard images list --cloud sim --as gcp --region …\n"),
        (("--cloud", "vsphere"), "  next: flatyard images list --cloud sim --as vsphere\n"),
        (("--cloud", "openstack", "--version", "4593"), "is not a Flatcar version"),
    ],
)
def test_there_is_nothing_to_import_elsewhere(flatyard, args, said):
    result = flatyard("images", "import", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    ("region", "said"),
    [("eu-cental-1", "did you mean eu-central-1?"), ("eu-central-1", "")],
)
def test_a_region_that_looks_misspelt_is_asked_about_before_the_cloud_is(region, said):
    cluster = cluster_of(Account("aws", region=region))
    assert doubtful_region(cluster).endswith(said) and bool(doubtful_region(cluster)) == bool(said)


def test_the_region_that_a_twin_stands_in_is_told(flatyard):
    assert listed(flatyard, "--as", "aws")["region"] == "us-east-1"
