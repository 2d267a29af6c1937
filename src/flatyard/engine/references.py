"""What a machine spec reads from the cluster's own Secrets and ConfigMaps, read when a machine is to be made.

A value that was read goes into the create request and nowhere else: no message, event, tag or record has it. Before
the cluster's API answers there is nothing to read, so a machine whose spec reads something waits for that.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import replace

from flatyard.base.errors import Problem, Severity
from flatyard.engine.context import Context
from flatyard.engine.queue import Waiting
from flatyard.engine.wanted import Wanted
from flatyard.kube.api import Api, NotFound, Object
from flatyard.kube.resources import CONFIGMAPS, SECRETS
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import MachineSpec
from flatyard.model.references import NotABool, Reference, references, resolved, without_account

KINDS = {"Secret": SECRETS, "ConfigMap": CONFIGMAPS}
SOON, LATER = 15.0, 60.0
"""Seconds until an API that did not answer yet, and an object that was missing, are looked for again."""


async def read_machine(ctx: Context, machine: MachineSpec, whose: str) -> MachineSpec | Waiting:
    """The machine spec with what it reads in place, and without what says who asks the cloud.

    Otherwise what is missing: `whose` names the object that the spec is of.
    """
    wanted = references(machine)
    if not wanted:
        return without_account(machine)
    if ctx.api is None:
        field, first = next(iter(wanted.items()))
        return Waiting(
            f"{field} of {whose} is read from {first}, once the Kubernetes API answers", again=SOON
        )
    values: dict[Reference, str] = {}
    for field, reference in wanted.items():
        found = await _value(ctx.api, reference)
        if isinstance(found, Waiting):
            return replace(found, reason=f"{field} of {whose} is read from {reference}: {found.reason}")
        values[reference] = found
    try:
        return without_account(resolved(machine, values))
    except NotABool as no:
        reference = wanted[str(no)]
        reason = f"{no} of {whose} is read from {reference}: it is neither true nor false"
        return Waiting(reason, again=LATER, final=True, next=_mends(reference, "true"))


async def _value(api: Api, reference: Reference) -> str | Waiting:
    try:
        holder = await api.get(KINDS[reference.kind], reference.namespace, reference.name)
    except NotFound:
        reason = f"there is no such {reference.kind}"
        return Waiting(reason, again=LATER, final=True, next=_makes(reference))
    try:
        found = _text(holder, reference.key)
    except (binascii.Error, UnicodeDecodeError):
        return Waiting("it is no text", again=LATER, final=True, next=_mends(reference, "…"))
    if found is None:
        reason = f"the {reference.kind} has no such key"
        return Waiting(reason, again=LATER, final=True, next=_mends(reference, "…"))
    return found.strip()  # the newline that `echo` leaves is nobody's name


def _text(holder: Object, key: str) -> str | None:
    data: Mapping[str, str] = holder.raw.get("data") or {}
    if key not in data:
        return None
    return base64.b64decode(data[key], validate=True).decode() if holder.kind == "Secret" else str(data[key])


def _makes(reference: Reference) -> str:
    kind = "secret generic" if reference.kind == "Secret" else "configmap"
    return f"kubectl create {kind} -n {reference.namespace} {reference.name} --from-literal={reference.key}=…"


def _mends(reference: Reference, value: str) -> str:
    field = "stringData" if reference.kind == "Secret" else "data"
    patch = f'{{"{field}":{{"{reference.key}":"{value}"}}}}'
    return f"kubectl patch {reference.kind.lower()} -n {reference.namespace} {reference.name} -p '{patch}'"


# ---- before there is a cluster to read from


def unchecked(wanted: Wanted) -> tuple[Problem, ...]:
    """A warning for each field that nobody can check before the cluster is there."""
    return tuple(_unchecked(wanted.cluster, wanted.deployments))


def _unchecked(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> Iterator[Problem]:
    short = {pool.name for pool in cluster.spec.workers}
    for number, pool in enumerate(cluster.spec.workers):
        yield from _warnings(pool.machine, f"spec.workers[{number}].machine")
    for one in deployments:
        if one.metadata.name not in short:
            where = "spec.template.spec.providerSpec.value.cloudProviderSpec"
            yield from _warnings(_machine(one), f"MachineDeployment {one.metadata.name}: {where}")


def _warnings(machine: MachineSpec | None, path: str) -> Iterator[Problem]:
    for field, reference in (references(machine) if machine else {}).items():
        what = f"read in the cluster from {reference}: its pool is not checked before"
        yield Problem(Severity.WARNING, None, f"{path}.{field}", what)


def _machine(deployment: MachineDeployment) -> MachineSpec | None:
    return deployment.spec.template.spec.provider_spec.value.cloud_provider_spec
