"""The lives of AWS' example files (life.py)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from emulators.life import HERE, Example, Life, kubernetes_is_baked_in, lives_and_leaves_nothing
from emulators.stage import Stage, environment

pytestmark = [pytest.mark.emulated, pytest.mark.slow, pytest.mark.timeout(900)]


def workers_are_spread(life: Life) -> None:
    """A pool that names no zone has its machines in different ones, by the cloud's own word."""
    machines = json.loads(life.flatyard("get", "machines", life.example.name, "-o", "json"))["items"]
    ids = [m["spec"]["providerID"] for m in machines if m["metadata"]["name"].startswith(life.example.pool)]
    zones = {id.removeprefix("aws:///").partition("/")[0] for id in ids}
    assert len(zones) == len(ids) == life.example.workers, ids


def start_aws(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    python = environment("aws") / "bin/python"
    stage.start(
        "aws", [str(python), str(HERE / "aws/server.py"), "5111", str(HERE / "aws/amis.json")], port=5111
    )
    return {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5111",
        "AWS_ACCESS_KEY_ID": "AKIAEMULATOR",
        "AWS_SECRET_ACCESS_KEY": "emulated-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def start_aws_with_images(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    """An account with images of its own, as image-builder names and tags them."""
    environment = start_aws(stage, end)
    for number, (kubernetes, release) in enumerate(
        (("v1.34.3", "4230.2.2"), ("v1.34.3", "4459.2.1"), ("v1.33.1", "4593.2.0"))
    ):
        name = f"capa-ami-flatcar-stable-{kubernetes}-{1712345678 + number}"
        tags = {"kubernetes_version": kubernetes, "distribution_version": release}
        line = (sys.executable, "-m", "emulators.window_aws", "bake", name, json.dumps(tags))
        done = stage.command(*line, environment={"PYTHONPATH": str(HERE.parent), **environment})
        assert done.returncode == 0, done.stderr
    return environment


EXAMPLES = (
    Example("aws", "aws.yaml", "web", "aws eu-central-1", 3, 4, "general-a", start_aws, killed="scale"),
    Example(
        "aws",
        "aws-image.yaml",
        "baked",
        "aws eu-central-1",
        1,
        2,
        "general",
        start_aws_with_images,
        flavor="image",
        looks=(kubernetes_is_baked_in, workers_are_spread),
    ),
)


@pytest.mark.parametrize("life", EXAMPLES, ids=lambda example: example.key, indirect=True)
def test_a_cluster_lives_and_leaves_nothing(life: Life):
    lives_and_leaves_nothing(life)
