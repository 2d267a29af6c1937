"""Names that only the engine writes; those shared with machine-controller's users are in `model.annotations`."""

from __future__ import annotations

NAMESPACE = "kube-system"

ATTEMPT = "flatyard.dev/attempt"
BOOTSTRAP = "flatyard.dev/bootstrap"
"""`init` on the machine that runs `kubeadm init`; every other one joins."""
CREATE_SENT = "flatyard.dev/create-sent"
"""When the create call of this attempt first left, in microseconds: a list that lags is outwaited by it, and in a
simulation a second of the wall is minutes."""
ZONE = "flatyard.dev/zone"
"""The zone that a create call named; further attempts stay there while it has room."""
STASHED = "flatyard.dev/stashed"
"""Key of the stashed object that the first boot reads; deleted after the join."""
DISRUPTION = "flatyard.dev/disruption"
"""Why the gate granted that this machine's node is taken away."""
DRAINED = "flatyard.dev/drained"
"""The node was drained; the rest of the deletion needs no Kubernetes."""
RESTARTING = "flatyard.dev/restarting"
"""How far the restart of this machine has come (`restart.Progress`)."""
RESTARTED = "flatyard.dev/restarted"
"""The last restart that was done: what `model.annotations.RESTART` said then."""
APPLIED = "flatyard.dev/applied"
"""On MachineDeployments that came from a cluster file: only these are pruned."""
TOMBSTONE = "flatyard.dev/tombstone"
"""On the Cluster object that is being deleted: nothing is created any more."""

FINALIZER = "flatyard.dev/machine"
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
REQUEST_SECRET_TYPE = "flatyard.dev/create-request"
