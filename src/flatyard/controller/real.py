"""What the background processes of real clusters share: the API is elsewhere, and a kubeconfig leads there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flatyard.base.serving import Server, Tls, listener, start
from flatyard.controller.background import LINGER, around, served
from flatyard.controller.clients import admin_kubeconfig
from flatyard.controller.control import Receive, Send
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import write_private
from flatyard.controller.places import Places
from flatyard.controller.runfile import Held
from flatyard.engine import record as records
from flatyard.engine import secrets
from flatyard.pki import ClusterSecrets

KUBECONFIG_EVERY = 3600.0


async def keep(places: Places, keeper: Keeper, keys: ClusterSecrets, held: Held) -> None:
    """Serve the control routes and run the reconcilers until the cluster is gone; its kubeconfig stays fresh."""

    async def listen(port: int, certificate: Path, key: Path) -> Server:
        return await start(around(keeper, _nothing_here), listener(port=port), tls=Tls(certificate, key))

    async with served(places, keeper, keys, held, listen), _kubeconfig(places, keeper):
        await keeper.until_gone()
        await asyncio.sleep(LINGER)


@asynccontextmanager
async def _kubeconfig(places: Places, keeper: Keeper) -> AsyncIterator[None]:
    task = asyncio.create_task(_keep_kubeconfig(places, keeper), name="kubeconfig")
    try:
        yield
    finally:
        task.cancel()


async def _keep_kubeconfig(places: Places, keeper: Keeper) -> None:
    """Write the kubeconfig as soon as there is an endpoint, and anew before its certificate ends."""
    while True:
        record = await records.load(keeper.seams.store, places.name)
        if record is None or record.endpoint is None:
            await asyncio.sleep(0.5)
            continue
        keys = await secrets.load(keeper.seams.store, places.name)
        server = keeper.server(record.endpoint)
        text = admin_kubeconfig(places.name, server, keys, keeper.seams.world)
        write_private(places.kubeconfig, text)
        await asyncio.sleep(KUBECONFIG_EVERY)


async def _nothing_here(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The cluster's own API is elsewhere; see the kubeconfig."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"see the cluster's kubeconfig\n"})
