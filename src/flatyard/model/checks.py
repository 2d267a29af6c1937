"""Rules across fields and documents: plain functions from a value and its place to problems."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from itertools import combinations
from urllib.parse import urlsplit

from flatyard.base.errors import Problem
from flatyard.decode.context import At
from flatyard.decode.types import ConfigVar, IntOrString
from flatyard.model.annotations import kubelet_settings
from flatyard.model.cluster import CLOUDS, CloudChoice, Cluster, IgnitionExtras, Network, Updates
from flatyard.model.machine import MachineDeployment, ProviderSpec
from flatyard.model.machines import (
    CLOUD_OF_PROVIDER,
    PROVIDER_OF_CLOUD,
    AzureMachine,
    MachineSpec,
    OpenstackMachine,
)
from flatyard.model.machines.checks import check_machine, check_size
from flatyard.model.meant import is_placeholder, spellings
from flatyard.model.meta import DNS_LABEL
from flatyard.model.references import check_readable, check_written
from flatyard.model.unsupported import why_not
from flatyard.model.versions import PATTERN, Version, skew_problem

SSH_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( .*)?")
_SHARE = re.compile(r"(?:100|[0-9]{1,2})%")
_SERVICE_BITS = 20
_LONGEST_WINDOW = 7 * 24 * 3600
_SHORTEST_WINDOW = 600


def check_cluster(cluster: Cluster, at: At) -> Iterator[Problem]:
    """Rules within one Cluster."""
    spec, place = cluster.spec, at("spec")
    yield from _check_name(cluster.name, at("metadata"))
    yield from _check_cloud(spec.cloud, place("cloud"))
    yield from _check_feed(cluster, place("kubernetes", "feed"))
    yield from _check_network(spec.network, place("network"))
    yield from _check_endpoint(cluster, place("endpoint"))
    yield from _check_updates(spec.updates, spec.kubernetes.flavor, place("updates"))
    yield from _check_access(cluster, place("access"))
    yield from _check_extras(spec.ignition, place("ignition"))
    machine = place("controlPlane", "machine")
    yield from _check_cluster_machine(spec.control_plane.machine, spec.cloud, machine)
    if spec.control_plane.machine is not None:
        yield from check_written(spec.control_plane.machine, machine)
    for index, pool in enumerate(spec.workers):
        here = place("workers", index)
        yield from _check_cluster_machine(pool.machine, spec.cloud, here("machine"))
        yield from _check_rolling(pool.max_surge, pool.max_unavailable, here)


def _check_name(name: str, at: At) -> Iterator[Problem]:
    if not name:
        yield at("name").error("name is missing", DNS_LABEL.allowed)
    elif not DNS_LABEL.test(name):
        yield at("name").error(f"{name} is not allowed here", DNS_LABEL.allowed)


def _check_cloud(cloud: CloudChoice, at: At) -> Iterator[Problem]:
    chosen = [name for name in CLOUDS if getattr(cloud, name) is not None]
    allowed = f"exactly one of {', '.join(CLOUDS)}"
    if len(chosen) > 1:
        yield at.error(f"{' and '.join(chosen)} are given; a cluster is on one cloud", allowed)
    elif not chosen and not (at.node and at.node.entries):
        yield at.error("no cloud is given", allowed)


def _check_feed(cluster: Cluster, at: At) -> Iterator[Problem]:
    spec = cluster.spec
    feed = spec.kubernetes.feed
    if not feed:
        return
    if spec.kubernetes.flavor != "sysext":
        yield at.warning("flavor image has Kubernetes baked in: no feed is read")
    elif spec.cloud.local is not None:
        yield at.warning("what a local cluster runs is compiled on this machine: no feed is read")
    elif feed.startswith("http://") and not _is_loopback(urlsplit(feed).hostname or ""):
        what = "whoever stands between can exchange Kubernetes on every node: its hashes come by the same way"
        yield at.warning(what, "https://…")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_network(network: Network, at: At) -> Iterator[Problem]:
    ranges = {name: ipaddress.ip_network(getattr(network, name)) for name in ("pods", "services", "nodes")}
    for (one, first), (other, second) in combinations(ranges.items(), 2):
        if first.version == second.version and first.overlaps(second):
            place = at(other) if at(other).node or not at(one).node else at(one)
            yield place.error(f"{other} {second} overlaps {one} {first}", "ranges that do not overlap")
    services = ranges["services"]
    if services.max_prefixlen - services.prefixlen > _SERVICE_BITS:
        smallest = services.max_prefixlen - _SERVICE_BITS
        yield at("services").error(
            f"{services} is larger than the API server takes", f"/{smallest} or smaller"
        )


def _check_endpoint(cluster: Cluster, at: At) -> Iterator[Problem]:
    endpoint = cluster.spec.endpoint
    if endpoint.kind == "dns" and not endpoint.host:
        yield at("host").error("an endpoint of kind dns needs host", "a DNS name")
    if endpoint.kind == "vip" and not endpoint.address:
        yield at("address").error(
            "an endpoint of kind vip needs address", "a free address of the nodes' network"
        )
    if endpoint.address and not _is_address(endpoint.address):
        yield at("address").error(f"{endpoint.address} is not allowed here", "an IP address")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_updates(updates: Updates, flavor: str, at: At) -> Iterator[Problem]:
    if updates.strategy == "inPlace" and flavor == "image":
        yield at("strategy").error("with flavor image nothing moves in place", "replace")
    yield from _check_share(updates.max_unavailable, at("maxUnavailable"))
    if updates.max_unavailable in (0, "0%"):
        yield at("maxUnavailable").error("with maxUnavailable 0 no node could ever update", "1 or more")
    for index, window in enumerate(updates.windows):
        if not _SHORTEST_WINDOW <= window.length.seconds <= _LONGEST_WINDOW:
            yield at("windows", index, "length").error(f"{window.length} is not allowed here", "10m to 168h")


def _check_extras(extras: IgnitionExtras, at: At) -> Iterator[Problem]:
    for field, entries in (
        ("all", extras.all),
        ("controlPlane", extras.control_plane),
        ("workers", extras.workers),
    ):
        for index, entry in enumerate(entries):
            if not isinstance(entry.value, str | dict) or not entry.value:
                allowed = "Butane or Ignition as text or mapping, or {file: PATH}"
                yield at(field, index).error("this is no config", allowed)
            elif isinstance(entry.value, dict) and "file" in entry.value and len(entry.value) > 1:
                yield at(field, index).error("an entry with file has nothing beside it", "{file: PATH}")


def _check_cluster_machine(machine: MachineSpec | None, cloud: CloudChoice, at: At) -> Iterator[Problem]:
    if cloud.twin == "openstack" and (not isinstance(machine, OpenstackMachine) or not machine.flavor):
        yield at("flavor").error(
            "flavor is missing; clouds differ, so there is no default", "a flavor of your cloud"
        )
    if machine is not None:
        yield from check_machine(machine, at)
        yield from check_readable(machine, at)
        yield from _check_region(machine, cloud, at)


def _check_region(machine: MachineSpec, cloud: CloudChoice, at: At) -> Iterator[Problem]:
    field = "location" if isinstance(machine, AzureMachine) else "region"
    found = getattr(machine, field, None)
    written = found.value if isinstance(found, ConfigVar) else ""
    if written and cloud.region and written != cloud.region and not is_placeholder(written):
        what = f"{written} is not the {field} of the cluster, {cloud.region}"
        yield at(field).error(what, cloud.region, cloud.region)


def _check_access(cluster: Cluster, at: At) -> Iterator[Problem]:
    access, cloud = cluster.spec.access, cluster.spec.cloud
    yield from _check_keys(access.ssh_keys, at("sshKeys"))
    if access.exosphere and cloud.twin != "openstack":
        yield at("exosphere").error("Exosphere is a face of OpenStack; there is none elsewhere", "false")


def _check_keys(keys: tuple[str, ...], at: At) -> Iterator[Problem]:
    for index, key in enumerate(keys):
        if not SSH_KEY.fullmatch(key.strip()) and not is_placeholder(key):
            yield at(index).error(
                "this is no public key", "a line of authorized_keys, like ssh-ed25519 AAAA… name"
            )


def _check_share(value: IntOrString, at: At) -> Iterator[Problem]:
    good = value >= 0 if isinstance(value, int) else _SHARE.fullmatch(value)
    if not good:
        yield at.error(f"{value} is not allowed here", "a number of 0 or more, or a percentage like 25%")


def _check_rolling(surge: IntOrString, unavailable: IntOrString, at: At) -> Iterator[Problem]:
    yield from _check_share(surge, at("maxSurge"))
    yield from _check_share(unavailable, at("maxUnavailable"))
    if surge in (0, "0%") and unavailable in (0, "0%"):
        yield at("maxUnavailable").error("maxSurge and maxUnavailable are both 0", "one of them above 0")


def check_deployment(deployment: MachineDeployment, at: At) -> Iterator[Problem]:
    """Rules within one MachineDeployment."""
    spec, place = deployment.spec, at("spec")
    if not deployment.metadata.name:
        yield at("metadata", "name").error("name is missing", DNS_LABEL.allowed)
    if spec.selector.empty:
        yield place("selector").error("an empty selector selects nothing", "labels of the template")
    elif not spec.selector.matches(spec.template.metadata.labels):
        allowed = "labels that spec.selector selects"
        yield place("template", "metadata", "labels").error(
            "the selector does not select the template's labels", allowed
        )
    if spec.strategy.type == "RollingUpdate":
        rolling = spec.strategy.rolling_update
        yield from _check_rolling(
            rolling.max_surge, rolling.max_unavailable, place("strategy", "rollingUpdate")
        )
    for name in kubelet_settings(deployment.metadata.annotations).ignored:
        yield at("metadata", "annotations", name).warning(
            "this kubelet setting is not understood and has no effect"
        )
    machine = place("template", "spec")
    if spec.template.spec.config_source is not None:
        yield machine("configSource").error("configSource is not supported", "nothing here")
    yield from _check_provider(spec.template.spec.provider_spec.value, machine("providerSpec", "value"))


def _check_provider(provider: ProviderSpec, at: At) -> Iterator[Problem]:
    if provider.cloud_provider not in CLOUD_OF_PROVIDER:
        hint = PROVIDER_OF_CLOUD.get(provider.cloud_provider, "")
        what = (
            why_not(provider.cloud_provider) or f"flatyard does not run Flatcar on {provider.cloud_provider}"
        )
        yield at("cloudProvider").error(what, ", ".join(CLOUD_OF_PROVIDER), hint)
    if provider.operating_system != "flatcar":
        what = f"{provider.operating_system} is not supported; every node runs Flatcar"
        yield at("operatingSystem").error(what, "flatcar", "flatcar")
    if provider.cloud and provider.cloud_provider_spec is None:
        yield at("cloudProviderSpec").error(
            "cloudProviderSpec is missing", f"a machine of {provider.cloud_provider}"
        )
    yield from _check_keys(provider.ssh_public_keys, at("sshPublicKeys"))
    yield from spellings(provider, at)
    if provider.cloud_provider_spec is not None:
        yield from check_machine(provider.cloud_provider_spec, at("cloudProviderSpec"))
        yield from check_size(provider.cloud_provider_spec, at("cloudProviderSpec"))
        yield from check_readable(provider.cloud_provider_spec, at("cloudProviderSpec"))


def check_together(cluster: Cluster, deployment: MachineDeployment, at: At) -> Iterator[Problem]:
    """Rules between a MachineDeployment and its Cluster."""
    spec, cloud = deployment.spec.template.spec, cluster.spec.cloud
    provider, place = spec.provider_spec.value, at("spec", "template", "spec")
    if provider.cloud and cloud.twin and provider.cloud != cloud.twin:
        right = PROVIDER_OF_CLOUD[cloud.twin]
        where = f"sim as {cloud.twin}" if cloud.simulated else cloud.twin
        what = f"the Cluster is on {where}, this is {provider.cloud_provider}"
        yield place("providerSpec", "value", "cloudProvider").error(what, right, right)
    elif provider.cloud_provider_spec is not None:
        spec_place = place("providerSpec", "value", "cloudProviderSpec")
        yield from _check_region(provider.cloud_provider_spec, cloud, spec_place)
    kubelet, version = spec.versions.kubelet, cluster.spec.kubernetes.version
    if re.fullmatch(PATTERN, kubelet):
        problem = skew_problem(Version.parse(kubelet), Version.parse(version))
        if problem:
            yield place("versions", "kubelet").error(
                problem, f"not newer than {version}, at most 3 minors older"
            )


def check_kubelet(
    deployment: MachineDeployment, current: str | None, lenient: bool, at: At
) -> Iterator[Problem]:
    """The kubelet version's form; a placeholder is a warning where nothing real is made."""
    kubelet = deployment.spec.template.spec.versions.kubelet
    place = at("spec", "template", "spec", "versions", "kubelet")
    if is_placeholder(kubelet):
        instead = (
            f"; the cluster's version {current} is used" if current else "; the cluster's version is used"
        )
        report = place.warning if lenient else place.error
        yield report(
            f"{kubelet} is a placeholder{instead if lenient else ''}", "a version like v1.34.3", current or ""
        )
    elif kubelet and not re.fullmatch(PATTERN, kubelet):
        yield place.error(f"{kubelet} is not allowed here", "a version like v1.34.3", current or "")
