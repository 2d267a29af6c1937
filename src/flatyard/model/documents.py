"""From the texts that a command was given to one Cluster and its MachineDeployments, or every error in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from flatyard.base.errors import InvalidInput, Position, Problem, Severity, in_order
from flatyard.decode import json_front, yaml_front
from flatyard.decode.api import decode
from flatyard.decode.context import MAX_PROBLEMS, At, Keys, dotted, nearest
from flatyard.decode.dialects import is_null
from flatyard.decode.node import Node, Reading
from flatyard.model import cluster as clusters
from flatyard.model import machine as machines
from flatyard.model.checks import check_cluster, check_deployment, check_kubelet, check_together
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.meant import is_placeholder
from flatyard.model.unsupported import why_not

T = TypeVar("T", Cluster, MachineDeployment)

KINDS = {"Cluster": clusters.API_VERSION, "MachineDeployment": machines.API_VERSION}
_KINDS = ", ".join(f"{version} {kind}" for kind, version in KINDS.items())
_CLOUD = "spec.cloud."
_PROVIDER_KEYS = (
    "cloudProviderSpec",
    "operatingSystemSpec",
    "operatingSystem",
    "cloudProvider",
    "sshPublicKeys",
    "providerSpec",
)


@dataclass(frozen=True, slots=True)
class Documents:
    """What was read. The places answer ``at_cluster("spec", "cloud").error(…)`` for later checks, such as preflight."""

    cluster: Cluster | None
    machine_deployments: tuple[MachineDeployment, ...]
    warnings: tuple[Problem, ...]
    at_cluster: At
    at_deployments: tuple[At, ...]


@dataclass(slots=True)
class _Found:
    """Mutable while reading. ``checks`` come from values in which a field that was wrong has its default."""

    checks: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    clusters: list[tuple[Cluster | None, At]] = field(default_factory=list)
    deployments: list[tuple[MachineDeployment | None, At]] = field(default_factory=list)


def read(texts: Sequence[tuple[str, str | bytes]], *, need_cluster: bool = False) -> Documents:
    """Read named texts (JSON where the name ends in ``.json``, YAML else), several documents each.

    Raises InvalidInput with every error and warning found. ``need_cluster``: a Cluster must be among them.
    """
    found = _Found()
    for name, text in texts:
        _read_text(name, text, found)
    _check(found, need_cluster, texts[0][0] if texts else "")
    problems = _worth_saying(found)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise InvalidInput(problems)
    cluster, at = found.clusters[0] if found.clusters else (None, At(None, None))
    deployments = [(value, place) for value, place in found.deployments if value is not None]
    return Documents(
        cluster,
        tuple(value for value, _ in deployments),
        problems,
        at,
        tuple(place for _, place in deployments),
    )


def _read_text(name: str, text: str | bytes, found: _Found) -> None:
    front: Callable[[str | bytes, str], Reading] = (
        json_front.read if name.endswith(".json") else yaml_front.read
    )
    reading = front(text, name)
    found.problems += reading.problems
    for node in reading.documents:
        if not is_null(node) and len(found.problems) < MAX_PROBLEMS:
            _read_document(At(name, node), node, found)


def _read_document(at: At, node: Node, found: _Found) -> None:
    if node.kind != "map":
        found.problems.append(at.error("a document is a mapping", _KINDS))
        return
    kind, version = (_text(node, key) for key in ("kind", "apiVersion"))
    if not kind and not version:
        found.problems.append(_fragment(node, at))
    elif kind not in KINDS:
        what = _not_read(kind) if kind else "kind is missing"
        found.problems.append(at("kind").error(what, ", ".join(KINDS), nearest(kind, KINDS)))
    elif version != KINDS[kind]:
        what = f"{version} is not read here" if version else "apiVersion is missing"
        found.problems.append(at("apiVersion").error(what, KINDS[kind], KINDS[kind]))
    elif kind == "Cluster":
        found.clusters.append((_decode(Cluster, node, at, found), at))
    else:
        found.deployments.append((_decode(MachineDeployment, node, at, found), at))


def _not_read(kind: str) -> str:
    """What machine specs refer to is the cluster's own: a copy in a file would be one more place for a secret."""
    if kind in ("Secret", "ConfigMap"):
        return f"{kind} is not read here: kubectl apply -f it once the cluster's API answers; machines wait for it"
    return f"{kind} is not read here"


def _decode(cls: type[T], node: Node, at: At, found: _Found) -> T | None:
    decoded = decode(cls, node, at.file or "")
    found.problems += map(_with_reason, decoded.problems)
    return decoded.value


def _with_reason(problem: Problem) -> Problem:
    """An unknown cloud that others know is refused with the reason, not as a misspelling."""
    name = problem.path.removeprefix(_CLOUD)
    reason = why_not(name) if name != problem.path else ""
    return replace(problem, what=reason, suggestion="") if reason else problem


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    return value.raw if value is not None and value.kind == "scalar" else ""


def _fragment(node: Node, at: At) -> Problem:
    """Where a piece without apiVersion and kind belongs."""
    keys = [name.raw for name, _ in node.entries]
    if "variant" in keys or "ignition" in keys:
        config = "a Butane config" if "variant" in keys else "an Ignition config"
        return at.error(
            f"this is {config}: name it in a Cluster, spec.ignition: {{all: [{{file: {at.file}}}]}}", _KINDS
        )
    start = (
        f"a fragment that starts with {keys[0]}, without apiVersion and kind" if keys else "an empty mapping"
    )
    if any(key in keys for key in _PROVIDER_KEYS):
        inside = "spec.template.spec" if "providerSpec" in keys else "spec.template.spec.providerSpec.value"
        start += f": paste it below {inside} of a MachineDeployment"
    elif node.at("spec", "template") is not None:
        start += ": paste it into a MachineDeployment, from spec down"
    return at.error(start, _KINDS)


def _check(found: _Found, need_cluster: bool, first_file: str) -> None:
    for _, place in found.clusters[1:]:
        found.checks.append(place("kind").error("a second Cluster", "one Cluster per command"))
    if need_cluster and not found.clusters and not found.problems:
        where = Position(first_file, 1, 1) if first_file else None
        found.problems.append(Problem(Severity.ERROR, where, "", "no Cluster among the documents", _KINDS))
    cluster = next((value for value, _ in found.clusters[:1]), None)
    lenient = all(place("spec", "cloud", "sim").node is not None for _, place in found.clusters[:1])
    found.checks += _names(found)
    for cluster_or_none, place in found.clusters[:1]:
        found.checks += _placeholders(place, lenient)
        if cluster_or_none is not None:
            found.checks += check_cluster(cluster_or_none, place)
    for deployment, place in found.deployments:
        found.checks += _placeholders(place, lenient)
        if deployment is not None:
            found.checks += _check_deployment(deployment, cluster, lenient, place)


def _check_deployment(
    deployment: MachineDeployment, cluster: Cluster | None, lenient: bool, at: At
) -> Iterator[Problem]:
    yield from check_deployment(deployment, at)
    yield from check_kubelet(deployment, cluster.spec.kubernetes.version if cluster else None, lenient, at)
    if cluster is not None:
        yield from check_together(cluster, deployment, at)


def _names(found: _Found) -> Iterator[Problem]:
    """Pools are told apart by name, whether shorthand or whole."""
    seen: dict[str, At] = {}
    named: list[tuple[str, At]] = []
    for cluster, at in found.clusters[:1]:
        pools = cluster.spec.workers if cluster else ()
        named += [(pool.name, at("spec", "workers", i, "name")) for i, pool in enumerate(pools)]
    named += [
        (each.metadata.name, at("metadata", "name")) for each, at in found.deployments if each is not None
    ]
    for name, place in named:
        if name and name in seen:
            yield place.error(
                f"a second pool named {name}, the first is at {seen[name].position}", "a name of its own"
            )
        seen.setdefault(name, place)


def _placeholders(at: At, lenient: bool) -> Iterator[Problem]:
    severity, allowed = (Severity.WARNING, "") if lenient else (Severity.ERROR, "the real value")
    for keys, node in islice(_scalars(at.keys, at.node), MAX_PROBLEMS):
        if keys[-2:] != ("versions", "kubelet"):
            place = Position(at.file or "", node.line, node.column)
            yield Problem(severity, place, dotted(keys), f"{node.raw} is a placeholder", allowed)


def _scalars(keys: Keys, node: Node | None) -> Iterator[tuple[Keys, Node]]:
    """The scalars that are placeholders, with where they stand."""
    if node is None:
        return
    if node.kind == "scalar" and is_placeholder(node.raw):
        yield keys, node
    for index, item in enumerate(node.items):
        yield from _scalars((*keys, index), item)
    for name, value in node.entries:
        yield from _scalars((*keys, name.raw), value)


def _worth_saying(found: _Found) -> tuple[Problem, ...]:
    """In order, once each. Where decoding failed a check is silent; else it knows more than "unknown key"."""
    failed = {(p.path, p.position) for p in found.problems if p.severity is Severity.ERROR}
    checks = [p for p in found.checks if (p.path, p.position) not in failed]
    checked = {p.path for p in checks}
    kept = [p for p in found.problems if p.severity is Severity.ERROR or p.path not in checked]
    return tuple(dict.fromkeys(in_order(kept + checks)))
