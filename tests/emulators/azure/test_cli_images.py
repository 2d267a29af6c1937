"""`flatyard images list` on the real SDK: what a location has, by the credentials of the environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.azure.place import Arm, start
from emulators.stage import Stage
from flatyard.flatcar import newest_first

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def arm(new_stage) -> Iterator[Arm]:
    stage: Stage = new_stage("azure")
    try:
        yield start(stage, blobs=False)
    finally:
        stage.close()


def flatyard(arm: Arm, *words: str, **more: str) -> tuple[int, str, str]:
    environment = {"PYTHONPATH": str(ROOT / "src"), **arm.environment, **more}
    done = arm.stage.command(sys.executable, "-m", "flatyard", "images", *words, environment=environment)
    return done.returncode, done.stdout, done.stderr


def test_the_images_of_a_location_by_generation_with_what_they_ship(arm: Arm) -> None:
    code, out, err = flatyard(arm, "list", "--cloud", "azure", "--region", "germanywestcentral", "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["cloud"], found["simulated"]) == ("azure", False)
    kinds = {(row["arch"], row["generation"]) for row in found["images"]}
    assert {("amd64", "gen1"), ("amd64", "gen2")} <= kinds
    for arch, generation in sorted(kinds):
        rows = [r for r in found["images"] if (r["arch"], r["generation"]) == (arch, generation)]
        assert [row["version"] for row in rows] == list(newest_first(row["version"] for row in rows))
        assert [row["newest"] for row in rows] == [True] + [False] * (len(rows) - 1)
    assert all(row["reference"].startswith("kinvolk:") for row in found["images"])


def test_the_community_gallerys_images_with_kubernetes_baked_in(arm: Arm) -> None:
    where = ("list", "--cloud", "azure", "--region", "westeurope", "--kubernetes")
    code, out, err = flatyard(arm, *where, "v1.34.3", "-o", "json")
    assert code == 0, err
    rows = json.loads(out)["images"]
    assert [row["version"] for row in rows if row["arch"] == "arm64"] == ["4593.2.5", "4459.2.3"]
    assert all(row["kubernetes"] == "v1.34.3" and "-capi-v1.34.3/" in row["reference"] for row in rows)
    code, out, err = flatyard(arm, *where, "1.34.99")
    assert (code, out) == (0, "")
    assert "azure westeurope has no Flatcar image of stable, amd64 or arm64 with Kubernetes v1.34.99" in err


def test_a_location_that_there_is_not_is_told_with_the_nearest(arm: Arm) -> None:
    code, out, err = flatyard(arm, "list", "--cloud", "azure", "--region", "germanywestcentrall")
    assert out == "" or code == 0
    assert "did you mean germanywestcentral?" in err


def test_a_wrong_secret_is_told_and_never_printed(arm: Arm) -> None:
    code, out, err = flatyard(
        arm, "list", "--cloud", "azure", "--region", "westeurope", AZURE_CLIENT_SECRET="wrong-5ecret"
    )
    assert code in (1, 2) and out == ""
    assert "error:" in err and "wrong-5ecret" not in err
