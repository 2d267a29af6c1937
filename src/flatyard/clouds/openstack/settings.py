"""Which OpenStack project a cluster is in: what its file, its machine specs and the environment say, in this order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from flatyard.decode.types import ConfigVar
from flatyard.model.cluster import Cluster
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder


@dataclass(frozen=True, slots=True)
class OpenstackSettings:
    """Empty texts are left to clouds.yaml. `cloud` is the name of an entry there."""

    cloud: str = ""
    auth_url: str = ""
    region: str = ""
    username: str = ""
    user_id: str = ""
    password: str = field(default="", repr=False)
    application_credential_id: str = ""
    application_credential_name: str = ""
    """Of a credential that is not given by its id; it wants the user too."""
    application_credential_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    domain_name: str = ""
    """Of user and project, where neither's own is given."""
    user_domain_name: str = ""
    user_domain_id: str = ""
    project_domain_name: str = ""
    project_domain_id: str = ""
    project_name: str = ""
    project_id: str = ""
    interface: str = ""
    ca_file: str = ""

    @property
    def says_who(self) -> bool:
        """Whether there is anything that a login could be made of."""
        return bool(self.cloud or self.auth_url)


_FIELDS: Mapping[str, Callable[[OpenstackMachine], ConfigVar]] = {
    "auth_url": lambda m: m.identity_endpoint,
    "region": lambda m: m.region,
    "username": lambda m: m.username,
    "password": lambda m: m.password,
    "application_credential_id": lambda m: m.application_credential_id,
    "application_credential_secret": lambda m: m.application_credential_secret,
    "token": lambda m: m.token_id,
    "domain_name": lambda m: m.domain_name,
    "project_name": lambda m: m.project_name or m.tenant_name,
    "project_id": lambda m: m.project_id or m.tenant_id,
}
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "cloud": ("OS_CLOUD",),
    "auth_url": ("OS_AUTH_URL",),
    "region": ("OS_REGION_NAME",),
    "username": ("OS_USERNAME", "OS_USER_NAME"),
    "user_id": ("OS_USER_ID",),
    "password": ("OS_PASSWORD",),
    "application_credential_id": ("OS_APPLICATION_CREDENTIAL_ID",),
    "application_credential_name": ("OS_APPLICATION_CREDENTIAL_NAME",),
    "application_credential_secret": ("OS_APPLICATION_CREDENTIAL_SECRET",),
    "token": ("OS_TOKEN",),
    "domain_name": ("OS_DOMAIN_NAME",),
    "user_domain_name": ("OS_USER_DOMAIN_NAME",),
    "user_domain_id": ("OS_USER_DOMAIN_ID",),
    "project_domain_name": ("OS_PROJECT_DOMAIN_NAME",),
    "project_domain_id": ("OS_PROJECT_DOMAIN_ID",),
    "project_name": ("OS_PROJECT_NAME", "OS_TENANT_NAME"),
    "project_id": ("OS_PROJECT_ID", "OS_TENANT_ID"),
    "interface": ("OS_INTERFACE",),
    "ca_file": ("OS_CACERT",),
}
"""As the openstack command and machine-controller read them; the first that is set."""
_DOMAINS = ("user_domain_name", "user_domain_id", "project_domain_name", "project_domain_id")
_SCOPE = ("project_domain_name", "project_domain_id", "project_name", "project_id")
_USER = ("domain_name", "user_domain_name", "user_domain_id", "username", "user_id")


def settings(cluster: Cluster, environment: Mapping[str, str] | None = None) -> OpenstackSettings:
    """What is written beats the environment; a named entry of clouds.yaml keeps the environment's login out."""
    chosen = cluster.spec.cloud.openstack
    written = {name: _first(cluster, read) for name, read in _FIELDS.items()}
    if chosen is not None:
        written["cloud"] = chosen.cloud
        written["auth_url"] = chosen.auth_url or written["auth_url"]
        written["region"] = chosen.region or written["region"]
    given = os.environ if environment is None else environment
    found = {name: _variable(given, names) for name, names in _VARIABLES.items()}
    if written.get("cloud"):
        found = {name: "" for name in found} | {"region": found["region"]}
    if written["domain_name"]:
        found |= dict.fromkeys(_DOMAINS, "")
    both = {f.name: written.get(f.name) or found.get(f.name, "") for f in fields(OpenstackSettings)}
    if both["application_credential_id"]:
        both |= dict.fromkeys((*_USER, "application_credential_name"), "")
    if both["application_credential_id"] or both["application_credential_name"]:
        both |= dict.fromkeys(
            (*_SCOPE, "password", "token"), ""
        )  # it has its scope: "cannot request a scope"
    return OpenstackSettings(**both)


def _first(cluster: Cluster, read: Callable[[OpenstackMachine], ConfigVar]) -> str:
    spec = cluster.spec
    for machine in (spec.control_plane.machine, *(pool.machine for pool in spec.workers)):
        value = read(machine).value if isinstance(machine, OpenstackMachine) else ""
        if value and not is_placeholder(value):
            return value
    return ""


def _variable(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")
