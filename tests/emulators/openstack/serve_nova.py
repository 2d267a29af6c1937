"""Nova in one process: API, conductor, scheduler and compute with the fake driver, over in-process messaging.

`serve_nova.py PORT CONSOLES`. What a file CONSOLES/SERVER_ID holds is that server's console; without one it is empty.
Runs in the emulator's environment.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(port: int, consoles: Path) -> None:
    sys.argv = ["nova"]
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")  # before anything else of Nova

    import locked
    import os_vif
    from cheroot import wsgi
    from nova import context, objects, service
    from nova.compute import rpcapi as compute_rpc
    from nova.conductor import rpcapi as conductor_rpc
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler_rpc
    from nova.virt import fake
    from nova.wsgi import osapi_compute

    def console(_driver: object, _context: object, instance: object) -> str:
        told = consoles / instance.uuid
        return told.read_text() if told.exists() else ""

    fake.FakeDriver.get_console_output = console
    application = osapi_compute.application
    assert locked
    os_vif.initialize()
    objects.Service.enable_min_version_cache()
    topics = {
        "nova-conductor": conductor_rpc.RPC_TOPIC,
        "nova-scheduler": scheduler_rpc.RPC_TOPIC,
        "nova-compute": compute_rpc.RPC_TOPIC,
    }
    for binary, topic in topics.items():
        service.Service.create(binary=binary, topic=topic).start()
    host_mapping.discover_hosts(context.get_admin_context())
    wsgi.Server(("127.0.0.1", port), application, numthreads=16, timeout=300, server_name="emulator").start()


main(int(sys.argv[1]), Path(sys.argv[2]))
