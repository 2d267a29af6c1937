"""Who a background process asks its cloud as.

A process keeps the environment that it was started in, while tokens in it end after an hour and secrets are changed. A
command that acts therefore compares what it finds with what the process found, and puts another process in its place
when its own credentials lead to the same account and work.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from flatyard.base.errors import FlatyardError
from flatyard.base.world import RealWorld
from flatyard.clouds import table
from flatyard.controller.launch import START_SECONDS, Start, from_here
from flatyard.controller.places import Places
from flatyard.controller.runfile import look
from flatyard.engine import record as records
from flatyard.engine.record import ClusterRecord
from flatyard.store import open_store

POLL = 0.05
NAMES: Mapping[str, tuple[str, ...]] = {
    "aws": (
        *(
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
        ),
        *(
            "AWS_ROLE_ARN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_ASSUME_ROLE_ARN",
            "AWS_ASSUME_ROLE_EXTERNAL_ID",
        ),
        *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    ),
    "azure": (
        *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"),
        *("AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CONFIG_DIR"),
    ),
    "openstack": (
        *("OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_AUTH_URL", "OS_TOKEN"),
        *("OS_USERNAME", "OS_USER_NAME", "OS_PASSWORD", "OS_PROJECT_NAME", "OS_PROJECT_ID", "OS_TENANT_NAME"),
        *("OS_TENANT_ID", "OS_DOMAIN_NAME", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"),
        *("OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET"),
    ),
}
"""The variables by which each cloud's own command finds its credentials."""
FILES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "aws": (("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), ("AWS_CONFIG_FILE", ".aws/config")),
    "azure": (("AZURE_CLIENT_CERTIFICATE_PATH", ""),),
    "openstack": (
        ("OS_CLIENT_CONFIG_FILE", ".config/openstack/clouds.yaml"),
        ("OS_CLIENT_SECURE_FILE", ".config/openstack/secure.yaml"),
    ),
}
"""Files that an SDK reads once: the variable that names each, and where it is otherwise, below the home folder."""


def fingerprint(cloud: str, salt: str, environ: Mapping[str, str]) -> str:
    """What tells one set of credentials from another and nothing of them; empty where there are none."""
    parts = [*_variables(cloud, environ), *_contents(cloud, environ)]
    if not parts:
        return ""
    return hashlib.sha256("\0".join((salt, *parts)).encode()).hexdigest()


def _variables(cloud: str, environ: Mapping[str, str]) -> Iterator[str]:
    for name in NAMES.get(cloud, ()):
        if environ.get(name):
            yield f"{name}={environ[name]}"


def _contents(cloud: str, environ: Mapping[str, str]) -> Iterator[str]:
    for name, usual in FILES.get(cloud, ()):
        home = environ.get("HOME", "")
        path = Path(environ.get(name) or (Path(home) / usual if home and usual else os.devnull))
        if path.is_file():
            yield f"{path}:{hashlib.sha256(path.read_bytes()).hexdigest()}"


async def renew(places: Places, environ: Mapping[str, str]) -> bool:
    """End the living process of a real cluster, so that the next one has these credentials; whether it was ended.

    It stays when it has the same ones, and when these do not lead to the cluster.
    """
    run, living = look(places.run)
    if not living or run is None or not run.real or not run.account:
        return False
    mine = fingerprint(run.twin, run.token, from_here(environ, Path.cwd()))
    if mine in ("", run.account):
        return False
    record = await records.load(open_store(None, RealWorld()), places.name)
    if record is None or not await _leads_to(places, record):
        return False
    os.kill(run.pid, signal.SIGTERM)
    for _ in range(round(START_SECONDS / POLL)):
        if not look(places.run)[1]:
            return True
        await asyncio.sleep(POLL)
    return False


async def _leads_to(places: Places, record: ClusterRecord) -> bool:
    """Whether this environment's credentials may see the cluster's machines in its account."""
    try:
        cloud = table.connect(Start.decode(places.cluster.read_bytes()).cluster, RealWorld())
    except (FlatyardError, FileNotFoundError):
        return False
    try:
        if await cloud.owner() != record.owner:
            return False
        await cloud.machines(record.ref)
    except FlatyardError:
        return False
    finally:
        await cloud.close()
    return True
