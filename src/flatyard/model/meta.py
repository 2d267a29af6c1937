"""What every Kubernetes object carries, as far as flatyard reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, matches, meta, one_of, shape
from flatyard.decode.types import JSON

DNS_LABEL = matches(
    r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
    "lower-case letters, digits and '-', at most 63, no '-' at either end",
)
DNS_SUBDOMAIN = matches(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "lower-case letters, digits, '-' and '.', at most 253, no '-' or '.' at either end",
)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerReference:
    """Who owns an object."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    """Name, labels, annotations, and what the API server fills in."""

    name: str = field(default="", metadata=meta(rule=DNS_SUBDOMAIN))
    generate_name: str = ""
    namespace: str = field(default="", metadata=meta(rule=DNS_LABEL))
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMeta:
    """Labels and annotations that a template hands down."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorRequirement:
    """One line of ``matchExpressions``."""

    key: str
    operator: str = field(metadata=meta(rule=one_of("In", "NotIn", "Exists", "DoesNotExist")))
    values: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy the line (apimachinery ``labels.Requirement``)."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return self.key not in labels or labels[self.key] not in self.values
            case "Exists":
                return self.key in labels
        return self.key not in labels


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """Which objects belong to a set; every part must hold."""

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[SelectorRequirement, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are selected; an empty selector selects everything."""
        pairs = all(labels.get(key) == value for key, value in self.match_labels.items())
        return pairs and all(requirement.matches(labels) for requirement in self.match_expressions)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.match_labels and not self.match_expressions
