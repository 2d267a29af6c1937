"""Why a machine did not come up, read off its serial console (Nova's console output)."""

from __future__ import annotations

from flatyard.clouds.cloud import CloudError, Evidence, Instance, Transient
from flatyard.clouds.openstack.answers import FORBIDDEN, NEVER, NOT_FOUND, UNAUTHORIZED
from flatyard.clouds.openstack.client import Client
from flatyard.node.evidence import parse_console

LINES = 2000
_NONE = (NOT_FOUND, NEVER, FORBIDDEN, UNAUTHORIZED)
"""Codes of what says that there is no console: some sites show none to users, some drivers have none."""


async def evidence(client: Client, known: Instance) -> Evidence | None:
    """None while nothing failed, when the server is gone or has no console yet, and where the site shows none."""
    try:
        found = await client.read(
            f"reading the console of {known.name}",
            lambda: client.sdk.compute.get_server_console_output(known.id, length=LINES),
        )
    except CloudError as no:
        if no.code in _NONE or (isinstance(no, Transient) and "conflict" in no.code.lower()):
            return None
        raise
    report = parse_console(str((found or {}).get("output") or ""))
    return Evidence(report.unit, report.lines, "console") if report else None
