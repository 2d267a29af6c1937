"""`flatyard images` on the real SDK against the real Glance: what a project has, found by an entry of clouds.yaml."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import openstack
import pytest
import yaml

from emulators.openstack.services import Account, Services

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parents[3]
SIGNED = Path(__file__).parent / "signed"
"""An empty qcow2 image of 8 GiB, signed with GnuPG by a key that was thrown away."""
OTHER_KEY = ROOT / "tests/clouds/openstack/signed/other.asc"


class Lab:
    """One project, and the command line of its user."""

    def __init__(self, services: Services, account: Account, folder: Path) -> None:
        self.services, self.account = services, account
        self.folder = folder
        entry = {"auth": account.auth, "region_name": "RegionOne"}
        path = folder / ".config" / "openstack" / "clouds.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({"clouds": {"lab": entry}}))

    def has(self, version: str, **properties: str) -> str:
        """An image in the project."""

        def uploaded() -> str:
            with openstack.connection.Connection(region_name="RegionOne", **self.account.auth) as user:
                return self.services.image(user, version, **properties)

        return self.services.stage.inside(uploaded)

    def flatyard(self, *words: str) -> tuple[int, str, str]:
        done = self.services.stage.command(
            sys.executable,
            "-m",
            "flatyard",
            "images",
            *words,
            environment={
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(self.folder),
                "FLATYARD_CACHE": str(self.folder / "cache"),
            },
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def lab(services: Services, project: str, tmp_path: Path) -> Lab:
    return Lab(services, services.stage.inside(lambda: services.account(project)), tmp_path)


def test_a_project_without_images_is_told_how_to_get_one(lab: Lab) -> None:
    code, out, err = lab.flatyard("list", "--cloud", "openstack", "--os-cloud", "lab")
    assert (code, out) == (0, "")
    assert "has no Flatcar image of stable" in err
    assert "flatyard images import --cloud openstack --os-cloud lab" in err


def test_the_images_of_a_project_with_what_they_ship(lab: Lab) -> None:
    older, newer = lab.has("4593.2.2"), lab.has("4593.2.5")
    lab.has("4757.1.0")
    code, out, err = lab.flatyard("list", "--cloud", "openstack", "--os-cloud", "lab", "-o", "json")
    assert code == 0, err
    found = json.loads(out)["images"]
    assert [(row["reference"], row["newest"]) for row in found] == [(newer, True), (older, False)]
    assert found[0]["kernel"] == "6.12.102"


# ---- import: an image of our own making, signed by a key of our own


@pytest.fixture(scope="module")
def mirror(services: Services) -> str:
    """Where the image and its signature lie."""
    port = 8571
    words = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(SIGNED),
    ]
    services.stage.start("mirror", words, port=port)
    return f"http://127.0.0.1:{port}/image.img.gz"


def bring(lab: Lab, mirror: str, key: Path) -> tuple[int, str, str]:
    words = ("--url", mirror, "--key", str(key), "--version", "4593.2.5", "-o", "json")
    return lab.flatyard("import", "--cloud", "openstack", "--os-cloud", "lab", *words)


def test_an_import_is_found_by_channel_and_version_and_happens_once(lab: Lab, mirror: str) -> None:
    code, out, err = bring(lab, mirror, SIGNED / "key.asc")
    assert code == 0, err
    made = json.loads(out)
    assert (made["name"], made["version"], made["arch"]) == (
        "flatcar-stable-4593.2.5-amd64",
        "4593.2.5",
        "amd64",
    )
    assert "is signed by" in err and "is uploaded" in err
    again = bring(lab, mirror, SIGNED / "key.asc")
    assert json.loads(again[1]) == made and "is there already" in again[2]
    _, out, _ = lab.flatyard("list", "--cloud", "openstack", "--os-cloud", "lab", "-o", "json")
    assert [row["reference"] for row in json.loads(out)["images"]] == [made["reference"]]


def test_an_image_that_another_key_signed_is_not_brought(lab: Lab, mirror: str) -> None:
    code, out, err = bring(lab, mirror, OTHER_KEY)
    assert (code, out) == (1, "")
    assert "not signed as it should be" in err
    _, out, _ = lab.flatyard("list", "--cloud", "openstack", "--os-cloud", "lab", "-o", "json")
    assert json.loads(out)["images"] == []


def test_an_entry_that_there_is_not(lab: Lab) -> None:
    code, out, err = lab.flatyard("list", "--cloud", "openstack", "--os-cloud", "nowhere")
    assert code in (1, 2) and out == ""
    assert "nowhere" in err and "next:" in err
