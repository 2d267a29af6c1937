"""What a Kubernetes API serves: each kind's scope, subresources, columns and rules, as data.

The rules are those of kube-apiserver 1.34: which kinds count generations, which keep a status that is sent
with a create, which fields a selector may name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flatyard.kube import resources as r
from flatyard.kube.api import Json
from flatyard.kube.resources import Resource


class ColumnType(StrEnum):
    """Types of table columns that printers distinguish."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `path` is a JSONPath below the object, priority 1 shows with -o wide."""

    name: str
    type: ColumnType
    path: str
    priority: int = 0
    description: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a kind keeps what its scale subresource shows, as paths below the object."""

    spec: tuple[str, ...] = ("spec", "replicas")
    status: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One served kind.

    `status`: has the status subresource. `generation`: metadata.generation counts changes of the spec.
    `keeps_status`: a status sent with a create is stored. `graceful`: deletion waits for a node to confirm.
    `fields`: what field selectors may name besides name and namespace; `indexed`: those found without a scan.
    `shown_deleted`: a finished deletion is answered with the object instead of a Status.
    `custom`: comes from a CustomResourceDefinition, whose schema is in `schema`.
    """

    resource: Resource
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: Scale | None = None
    generation: bool = False
    keeps_status: bool = False
    graceful: bool = False
    shown_deleted: bool = False
    fields: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    custom: bool = False
    columns: tuple[Column, ...] = ()
    schema: Json = field(default_factory=dict, repr=False)

    @property
    def singular(self) -> str:
        return self.resource.kind.lower()

    @property
    def list_kind(self) -> str:
        return self.resource.kind + "List"

    @property
    def key(self) -> tuple[str, str]:
        return self.resource.api_version, self.resource.kind


_SELECTOR = Scale(selector=("spec", "selector"))
_POD_FIELDS = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
    "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
)  # fmt: skip
_EVENT_FIELDS = (
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
    "reason", "reportingComponent", "source", "type",
)  # fmt: skip
_ALL = ("all",)

BUILT_IN: tuple[Kind, ...] = (
    Kind(r.NAMESPACES, ("ns",), status=True, keeps_status=True, fields=("status.phase",)),
    Kind(r.NODES, ("no",), status=True, keeps_status=True, fields=("spec.unschedulable",)),
    Kind(r.PODS, ("po",), _ALL, status=True, keeps_status=True, generation=True, graceful=True, shown_deleted=True,
         fields=_POD_FIELDS, indexed=("spec.nodeName",)),
    Kind(r.SECRETS, fields=("type",)),
    Kind(r.CONFIGMAPS, ("cm",)),
    Kind(r.SERVICES, ("svc",), _ALL, status=True, shown_deleted=True, fields=("spec.clusterIP", "spec.type")),
    Kind(r.SERVICE_ACCOUNTS, ("sa",), shown_deleted=True),
    Kind(r.EVENTS, ("ev",), fields=_EVENT_FIELDS),
    Kind(r.PERSISTENT_VOLUME_CLAIMS, ("pvc",), status=True, shown_deleted=True),
    Kind(r.PERSISTENT_VOLUMES, ("pv",), status=True, shown_deleted=True),
    Kind(r.DEPLOYMENTS, ("deploy",), _ALL, status=True, generation=True, scale=_SELECTOR),
    Kind(r.REPLICA_SETS, ("rs",), _ALL, status=True, generation=True, scale=_SELECTOR,
         fields=("status.replicas",)),
    Kind(r.DAEMON_SETS, ("ds",), _ALL, status=True, generation=True),
    Kind(r.STATEFUL_SETS, ("sts",), _ALL, status=True, generation=True, scale=_SELECTOR),
    Kind(r.CONTROLLER_REVISIONS),
    Kind(r.LEASES),
    Kind(r.POD_DISRUPTION_BUDGETS, ("pdb",), status=True, generation=True),
    Kind(r.CERTIFICATE_SIGNING_REQUESTS, ("csr",), status=True, fields=("spec.signerName",)),
    Kind(r.CLUSTER_ROLES),
    Kind(r.CLUSTER_ROLE_BINDINGS),
    Kind(r.ROLES),
    Kind(r.ROLE_BINDINGS),
    Kind(r.CUSTOM_RESOURCE_DEFINITIONS, ("crd", "crds"), ("api-extensions",), status=True, generation=True),
)  # fmt: skip

_AGES = (
    Column("Age", ColumnType.DATE, ".metadata.creationTimestamp"),
    Column("Deleted", ColumnType.DATE, ".metadata.deletionTimestamp", 1),
)

CUSTOM: tuple[Kind, ...] = (
    Kind(r.CLUSTERS, ("fy",), status=True, generation=True, custom=True),
    Kind(r.MACHINE_DEPLOYMENTS, ("md",), status=True, generation=True, custom=True, columns=_AGES,
         scale=Scale(selector=("status", "labelSelector"))),
    Kind(r.MACHINE_SETS, ("ms",), status=True, generation=True, custom=True, columns=_AGES),
    Kind(r.MACHINES, ("ma",), generation=True, keeps_status=True, custom=True, columns=_AGES),
)  # fmt: skip

DEFAULT: tuple[Kind, ...] = BUILT_IN + CUSTOM


def from_definition(definition: Json) -> Kind:
    """The kind that a CustomResourceDefinition (apiextensions.k8s.io/v1) makes: its first served version."""
    spec = definition["spec"]
    names = spec["names"]
    version = next(v for v in spec["versions"] if v.get("served"))
    subresources = version.get("subresources") or {}
    has_status = "status" in subresources
    return Kind(
        Resource(
            spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced"
        ),
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        status=has_status,
        keeps_status=not has_status,
        generation=True,
        custom=True,
        scale=_scale(subresources.get("scale")),
        columns=tuple(_column(c) for c in version.get("additionalPrinterColumns") or ()),
        schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
    )


def _scale(scale: Mapping[str, str] | None) -> Scale | None:
    if scale is None:
        return None
    return Scale(
        _path(scale["specReplicasPath"]),
        _path(scale["statusReplicasPath"]),
        _path(scale.get("labelSelectorPath", "")),
    )


def _path(text: str) -> tuple[str, ...]:
    return tuple(step for step in text.split(".") if step)


def _column(column: Json) -> Column:
    return Column(
        column["name"],
        ColumnType(column["type"]),
        column["jsonPath"],
        column.get("priority", 0),
        column.get("description", ""),
        column.get("format", ""),
    )


def find(kinds: Sequence[Kind], resource: Resource) -> Kind | None:
    """The kind served as `resource`."""
    return next((kind for kind in kinds if kind.resource == resource), None)
