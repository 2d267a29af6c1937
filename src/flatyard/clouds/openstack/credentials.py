"""How to log in: clouds.yaml as the openstack command finds it, the OS_* variables, application credentials.

Nothing of it is ever printed; what goes wrong is told without what was sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path

from keystoneauth1 import exceptions as auth_errors
from keystoneauth1.session import Session
from openstack.config import OpenStackConfig
from openstack.config.cloud_region import CloudRegion
from openstack.config.loader import CONFIG_FILES, SECURE_FILES
from openstack.exceptions import ConfigException

from flatyard.base.errors import Refused
from flatyard.clouds.cloud import NoAccount
from flatyard.clouds.openstack.settings import OpenstackSettings

NEXT = "write a clouds.yaml and name its entry in OS_CLOUD, or set the OS_* variables (docs/openstack.md)"


_REGIONS = re.compile(r"is not a valid region name for cloud \S+ Valid choices are (.*?)\. Please")
"""How the SDK says which regions an entry has."""


class OneTry(Session):
    """A session that asks once: who repeats, and what, is decided above it."""

    request = partialmethod(Session.request, connect_retries=0, status_code_retries=0)


def region(chosen: OpenstackSettings) -> CloudRegion:
    """Where to ask, and as whom. Raises NoAccount when there are no credentials, Refused when they are not right."""
    config = _config()
    names = _entries(config)
    login = chosen.username or chosen.user_id or chosen.application_credential_id or chosen.token
    if not names and not login:
        raise _none()
    if chosen.cloud and chosen.cloud not in names:
        raise Refused(
            f"clouds.yaml has no entry {chosen.cloud!r}",
            why=f"it has: {', '.join(names) or 'none'}",
            next=NEXT,
        )
    if not chosen.cloud and not login and len(names) > 1:
        raise Refused(
            "none of the entries of clouds.yaml is chosen",
            why=f"it has: {', '.join(names)}",
            next="name one: spec: {cloud: {openstack: {cloud: …}}}, --os-cloud or OS_CLOUD",
        )
    try:
        return config.get_one(**_words(chosen))  # type: ignore[arg-type] # the SDK names three of many
    except (ConfigException, auth_errors.MissingRequiredOptions) as no:
        why = str(no).splitlines()[0]
        known = _REGIONS.search(why)
        if known:
            where = f"entry {chosen.cloud or ', '.join(names)} of clouds.yaml"
            raise Refused(
                f"{where} has no region {chosen.region!r}",
                why=f"it has: {known[1]}",
                next="name one of these",
            ) from None
        raise Refused("the credentials for OpenStack are not complete", why=why, next=NEXT) from None


def _none() -> Refused:
    """There is nobody to log in as; a file that is there and could not be read is named."""
    names = _files("OS_CLIENT_CONFIG_FILE", CONFIG_FILES)
    broken = next((name for name in names if Path(name).is_file()), "")
    if broken:
        return Refused(
            f"{broken} has no entries", why="it is empty, or not the YAML of a clouds.yaml", next=NEXT
        )
    return NoAccount(
        "there are no credentials for OpenStack", why="no clouds.yaml, no OS_* variables", next=NEXT
    )


def _config() -> OpenStackConfig:
    """clouds.yaml and secure.yaml where the openstack command looks; the OS_* login comes through the settings."""
    return OpenStackConfig(
        config_files=_files("OS_CLIENT_CONFIG_FILE", CONFIG_FILES),
        secure_files=_files("OS_CLIENT_SECURE_FILE", SECURE_FILES),
        session_constructor=OneTry,
        load_envvars=False,
        app_name="flatyard",
    )


def _files(variable: str, usual: Sequence[str]) -> list[str]:
    given = os.environ.get(variable)
    return [given, *usual] if given else list(usual)


def _entries(config: OpenStackConfig) -> tuple[str, ...]:
    """The entries of clouds.yaml; the SDK adds one of its own where there is no file."""
    clouds = config.cloud_config.get("clouds")
    entries = clouds if isinstance(clouds, dict) else {}
    return tuple(
        sorted(name for name, entry in entries.items() if name != "defaults" and isinstance(entry, dict))
    )


def _words(chosen: OpenstackSettings) -> dict[str, object]:
    names = (
        "auth_url",
        "username",
        "user_id",
        "password",
        "application_credential_id",
        "application_credential_name",
        "application_credential_secret",
        "token",
        "project_name",
        "project_id",
    )
    login = {name: getattr(chosen, name) for name in names} | _domains(chosen)
    words: dict[str, object] = {"auth": {key: value for key, value in login.items() if value}}
    if chosen.application_credential_id or chosen.application_credential_name:
        words["auth_type"] = "v3applicationcredential"
    elif chosen.token:
        words["auth_type"] = "v3token"
    others = {
        "cloud": chosen.cloud,
        "region_name": chosen.region,
        "interface": chosen.interface,
        "cacert": chosen.ca_file,
    }
    return words | {key: value for key, value in others.items() if value} | {"api_timeout": 60}


def _domains(chosen: OpenstackSettings) -> dict[str, str]:
    """Each one's own; where only one is given, it is both's. Keystone's first domain where none is."""
    if chosen.application_credential_id:
        return {}
    user = _domain(chosen.user_domain_id, chosen.user_domain_name or chosen.domain_name)
    project = _domain(chosen.project_domain_id, chosen.project_domain_name or chosen.domain_name)
    first = {"id": "default"} if chosen.auth_url and not chosen.cloud else {}
    of_user, of_project = user or project or first, project or user or first
    found = {f"user_domain_{key}": value for key, value in of_user.items()}
    if chosen.application_credential_name:  # which has its project itself
        return found
    return found | {f"project_domain_{key}": value for key, value in of_project.items()}


def _domain(key: str, name: str) -> dict[str, str]:
    return {"id": key} if key else {"name": name} if name else {}
