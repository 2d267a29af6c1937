"""Why a machine did not come up: its serial console, which Azure keeps where boot diagnostics are on."""

from __future__ import annotations

import requests
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import code_of, or_none
from flatyard.clouds.azure.client import CONNECT_SECONDS, READ_SECONDS
from flatyard.clouds.azure.reading import text
from flatyard.clouds.cloud import ClusterRef, Evidence, Instance
from flatyard.node.evidence import parse_console

TAIL = 256 * 1024
_NO_LOG = (
    "BootDiagnosticsNotEnabled",
    "BootDiagnosticsDisabled",
    "BlobNotFound",
    "OperationNotAllowed",
    "Conflict",
)
"""Codes that say that there is no console to read, now or at all."""
_FOUND, _GONE = 200, (404, 409)


async def evidence(account: Account, ref: ClusterRef, instance: Instance) -> Evidence | None:
    """The first failing unit and its last lines; None where nothing failed, or the machine is gone."""
    what = f"reading the console of {instance.name}"
    url = await account.read(what, lambda: _place(account, ref, instance))
    console = await account.read(what, lambda: _fetch(account, url)) if url else ""
    report = parse_console(console)
    return Evidence(report.unit, report.lines, "console") if report else None


def _place(account: Account, ref: ClusterRef, instance: Instance) -> str:
    """A short-lived address of the log; empty where there is none."""
    api, group = account.clients.compute.virtual_machines, account.place.group_for(ref)
    try:
        shown = or_none(lambda: api.retrieve_boot_diagnostics_data(group, instance.name))
    except HttpResponseError as problem:
        if code_of(problem) in _NO_LOG:
            return ""
        raise
    return text(shown, "serialConsoleLogBlobUri")


def _fetch(account: Account, url: str) -> str:
    clients = account.clients
    try:
        # requests takes the environment's authorities before a session's, but not before a call's
        answer = clients.session.get(url, timeout=(CONNECT_SECONDS, READ_SECONDS), verify=clients.verify)
    except requests.RequestException as broken:
        raise ServiceRequestError(str(broken)) from None
    if answer.status_code in _GONE:
        return ""
    if answer.status_code != _FOUND:
        raise HttpResponseError(f"the console's blob answers {answer.status_code}")
    return answer.content[-TAIL:].decode(errors="replace")
