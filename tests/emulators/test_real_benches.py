"""The benches of real accounts, which nobody runs in CI."""

from __future__ import annotations

import pytest

from emulators.aws.real import RealBench as Aws
from emulators.azure.real import RealBench as Azure
from emulators.openstack.real import RealBench as Openstack
from flatyard.clouds import conformance


@pytest.mark.parametrize("bench", [Aws, Azure, Openstack], ids=["aws", "azure", "openstack"])
def test_each_is_whole(bench: type) -> None:
    """A check that lacks a method of the bench would be found in the account, where it costs money."""
    members = vars(conformance.Bench).items()
    wanted = [name for name, member in members if callable(member) and not name.startswith("_")]
    assert wanted
    assert [name for name in wanted if not hasattr(bench, name)] == []
