"""`flatyard images list` on the real SDK: what the region has, by the credentials of the environment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from emulators.aws.emulated import REGION, Emulated
from flatyard.flatcar import newest_first, release

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parents[3]


def flatyard(aws: Emulated, *words: str) -> tuple[int, str, str]:
    done = aws.stage.command(
        sys.executable, "-m", "flatyard", "images", *words, environment={"PYTHONPATH": str(ROOT / "src")}
    )
    return done.returncode, done.stdout, done.stderr


def test_the_images_of_a_region_with_what_they_ship(aws: Emulated) -> None:
    region = REGION
    code, out, err = flatyard(aws, "list", "--cloud", "aws", "--region", region, "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["cloud"], found["region"], found["simulated"]) == ("aws", region, False)
    for arch in ("amd64", "arm64"):
        rows = [row for row in found["images"] if row["arch"] == arch]
        versions = [row["version"] for row in rows]
        assert versions and tuple(versions) == newest_first(versions)
        assert [row["newest"] for row in rows] == [True] + [False] * (len(rows) - 1)
    known = [row for row in found["images"] if release(row["version"])]
    assert known and all(row["spec"] and row["kernel"] for row in known)


def test_the_table_is_of_the_real_cloud_and_says_nothing_of_a_simulation(aws: Emulated) -> None:
    region = REGION
    code, out, err = flatyard(aws, "list", "--cloud", "aws", "--region", region, "--channel", "all")
    assert code == 0, err
    assert out.startswith("CHANNEL   VERSION") and "ami-" in out
    assert "simulated" not in err


def test_credentials_that_aws_refuses_are_told_and_never_printed(aws: Emulated, monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") and "KEY" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, out, err = flatyard(aws, "list", "--cloud", "aws", "--region", REGION)
    assert code in (1, 2) and out == ""
    assert "credentials" in err.lower() and "next:" in err
