"""What AWS would refuse, found before anything is created."""

from __future__ import annotations

from flatyard.base.errors import Problem
from flatyard.clouds.aws.client import Account
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment


async def problems(
    account: Account, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Problem, ...]:
    return ()
