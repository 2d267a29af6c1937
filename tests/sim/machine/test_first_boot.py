"""From power to a node: what a machine's real rendered Ignition leads to."""

from __future__ import annotations

import asyncio


def test_a_control_plane_and_a_worker_become_ready(play):
    async def story(lab):
        await lab.cluster()
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(300)
        return await lab.ready(), lab.console("worker-1"), lab.console("cp-0")

    ready, worker, control_plane = play(story)
    print(control_plane, worker)
    assert ready == {"cp-0": "True", "worker-1": "True"}
    assert "This node has joined the cluster" in worker
    assert "initialized successfully" in control_plane
