"""A small cluster on the simulated twin of a cloud: one control plane and one worker, with the machine specs given."""

from __future__ import annotations

from flatyard.engine.wanted import Wanted, wanted_of
from flatyard.model.documents import Documents, read

FILE = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {{name: prod}}
spec:
  cloud: {{sim: {{as: {twin}}}}}
  kubernetes: {{version: v1.34.3}}
  controlPlane: {{replicas: 1, machine: {plane}}}
  workers: [{{name: general, replicas: 1, machine: {worker}}}]
"""


def documents(worker: str = "{}", twin: str = "aws", plane: str = "{}", *, more: str = "") -> Documents:
    """Its file, and `more` below it, as they are read."""
    text = FILE.format(twin=twin, plane=plane, worker=worker) + more
    return read([("prod.yaml", text)], need_cluster=True)


def wanted(worker: str = "{}", twin: str = "aws", plane: str = "{}") -> Wanted:
    """What the engine makes of its file."""
    found = documents(worker, twin, plane)
    assert found.cluster is not None
    return wanted_of(found.cluster, found.machine_deployments)
