"""Which instance types count against which quota (EC2 user guide, "Amazon EC2 instance type quotas")."""

from __future__ import annotations

import pytest

from flatyard.clouds.aws.quotas import _standard


@pytest.mark.parametrize(
    "size", ["t3.medium", "m6i.large", "im4gn.large", "i3.large", "d3.xlarge", "h1.2xlarge"]
)
def test_standard_types_share_one_quota(size: str) -> None:
    assert _standard(size)


@pytest.mark.parametrize(
    "size", ["inf2.xlarge", "trn1.2xlarge", "dl1.24xlarge", "hpc7g.4xlarge", "g5.xlarge", "p4d.24xlarge"]
)
def test_accelerated_and_computing_types_have_their_own(size: str) -> None:
    """They were counted as standard ones, and plan refused them in accounts that have room for them."""
    assert not _standard(size)
