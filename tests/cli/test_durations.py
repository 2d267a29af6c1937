"""How long commands watch, where nobody said it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flatyard.cli.durations import patience
from flatyard.controller.expected import seconds_to_make
from flatyard.engine.wanted import wanted_of
from flatyard.model.documents import read

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("cloud", "seconds"),
    [("sim", 600), ("local", 600), ("", 600), ("aws", 3600), ("azure", 3600), ("openstack", 3600)],
)
def test_a_real_cloud_is_watched_for_an_hour(cloud: str, seconds: float):
    assert patience(None, cloud) == seconds
    assert patience(0.0, cloud) == 0.0
    assert patience(7200.0, cloud) == 7200.0


@pytest.mark.parametrize(
    "name", ["aws.yaml", "azure-sysext.yaml", "azure-image.yaml", "openstack-jetstream2.yaml"]
)
def test_a_clouds_slow_day_is_watched_to_the_end(name: str):
    """Five times what the example typically takes; ten minutes would be over on some days."""
    found = read([(name, (EXAMPLES / name).read_text())], need_cluster=True)
    wanted = wanted_of(found.cluster, found.machine_deployments)
    assert 5 * seconds_to_make(wanted) < patience(None, wanted.cluster.spec.cloud.name)
