"""What the server tells clients about the kinds it serves: group lists, resource lists, aggregated discovery.

Sources: the Kubernetes documentation, "Kubernetes API Concepts" and "The Kubernetes API"; recorded answers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flatyard.kube.api import Json
from flatyard.kube.kinds import Kind
from flatyard.kube.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CUSTOM_RESOURCE_DEFINITIONS,
    NAMESPACES,
    PODS,
)

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_PARTLY = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource and the kind that it answers with."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


def verbs(kind: Kind) -> tuple[str, ...]:
    """What can be done with a kind; namespaces are not deleted by the dozen."""
    if kind.custom:
        return _CUSTOM_VERBS
    return tuple(v for v in _VERBS if not (kind.resource == NAMESPACES and v == "deletecollection"))


def subresources(kind: Kind) -> Iterator[Subresource]:
    """The subresources that are served for a kind."""
    resource = kind.resource
    if resource == PODS:
        yield Subresource("eviction", "policy", "v1", "Eviction", ("create",))
    if resource == NAMESPACES:
        yield Subresource("finalize", resource.group, resource.version, resource.kind, ("update",))
    if resource == CERTIFICATE_SIGNING_REQUESTS:
        yield Subresource("approval", resource.group, resource.version, resource.kind, _PARTLY)
    scale = Subresource("scale", "autoscaling", "v1", "Scale", _PARTLY)
    status = Subresource("status", resource.group, resource.version, resource.kind, _PARTLY)
    found = [s for s, there in ((scale, kind.scale is not None), (status, kind.status)) if there]
    yield from reversed(found) if kind.custom else found


def group_versions(kinds: Iterable[Kind]) -> dict[tuple[str, str], list[Kind]]:
    """Kinds by group and version, in order."""
    found: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        found.setdefault((kind.resource.group, kind.resource.version), []).append(kind)
    return found


def resource_list(group: str, version: str, kinds: Iterable[Kind]) -> Json:
    """The APIResourceList of one group version."""
    ordered = sorted(kinds, key=lambda kind: kind.resource.plural)
    resources = [entry for kind in ordered for entry in _entries(kind)]
    listing: Json = {"kind": "APIResourceList"}
    if group:
        listing["apiVersion"] = "v1"
    return {**listing, "groupVersion": f"{group}/{version}" if group else version, "resources": resources}


def _entries(kind: Kind) -> Iterator[Json]:
    resource = kind.resource
    entry: Json = {
        "name": resource.plural,
        "singularName": kind.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(verbs(kind)),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    entry["storageVersionHash"] = _storage_hash(kind)
    yield entry
    for sub in subresources(kind):
        yield _subresource_entry(kind, sub)


def _storage_hash(kind: Kind) -> str:
    """How the real server shows in which version a kind is stored."""
    resource = kind.resource
    version = "v1beta1" if resource == CUSTOM_RESOURCE_DEFINITIONS else resource.version
    name = f"{resource.group}/{version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(name.encode()).digest()[:8]).decode()


def _subresource_entry(kind: Kind, sub: Subresource) -> Json:
    entry: Json = {
        "name": f"{kind.resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.resource.namespaced,
    }
    if sub.group != kind.resource.group:
        entry |= {"group": sub.group, "version": sub.version}
    return {**entry, "kind": sub.kind, "verbs": list(sub.verbs)}


def group(name: str, versions: Iterable[str]) -> Json:
    """An APIGroup."""
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": found,
        "preferredVersion": found[0],
    }


def group_list(kinds: Iterable[Kind]) -> Json:
    """The APIGroupList, without the core group."""
    groups: dict[str, list[str]] = {}
    for name, version in group_versions(kinds):
        if name:
            groups.setdefault(name, []).append(version)
    entries = [group(name, versions) for name, versions in groups.items()]
    for entry in entries:
        del entry["kind"], entry["apiVersion"]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": entries}


def core_versions(address: str) -> Json:
    """The APIVersions answer at /api."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def aggregated(kinds: Iterable[Kind], *, core: bool, version: str = "v2") -> Json:
    """The APIGroupDiscoveryList at /api (core) or /apis."""
    items: list[Json] = []
    for (name, api_version), members in group_versions(kinds).items():
        if bool(name) == core:
            continue
        resources = sorted((_discovered(kind) for kind in members), key=lambda entry: str(entry["resource"]))
        metadata: Json = {"name": name} if name else {}
        entry = {"version": api_version, "resources": resources, "freshness": "Current"}
        items.append({"metadata": metadata, "versions": [entry]})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _discovered(kind: Kind) -> Json:
    resource = kind.resource
    entry: Json = {
        "resource": resource.plural,
        "responseKind": {
            "group": _response_group(kind),
            "version": _response_version(kind),
            "kind": resource.kind,
        },
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(verbs(kind)),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    found = [_discovered_sub(kind, sub) for sub in subresources(kind)]
    if found:
        entry["subresources"] = found
    return entry


def _response_group(kind: Kind) -> str:
    return kind.resource.group if kind.custom else ""


def _response_version(kind: Kind) -> str:
    return kind.resource.version if kind.custom else ""


def _discovered_sub(kind: Kind, sub: Subresource) -> Json:
    own = sub.group == kind.resource.group and not kind.custom
    response = {"group": "" if own else sub.group, "version": "" if own else sub.version, "kind": sub.kind}
    return {"subresource": sub.name, "responseKind": response, "verbs": list(sub.verbs)}
