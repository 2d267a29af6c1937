"""Cinder in one process: API, scheduler and volume service, over in-process messaging; volumes without a data plane.

`serve_cinder.py PORT CONFIG`. Runs in the emulator's environment.
"""

from __future__ import annotations

import importlib
import sys


def main(port: int, config: str) -> None:
    sys.argv = ["cinder", "--config-file", config]
    from cinder import monkey_patch

    monkey_patch.patch(backend="threading")  # before anything else of Cinder

    importlib.import_module("locked")
    from cheroot import wsgi
    from cinder import service
    from cinder.cmd import volume
    from cinder.wsgi.api import application  # reads the configuration
    from oslo_config import cfg

    cfg.CONF.register_opt(volume.host_opt, group="nowhere")
    for binary, place in (("cinder-scheduler", {}), ("cinder-volume", {"host": "host1@nowhere"})):
        words = {"service_name": "nowhere", "coordination": True} if place else {}
        service.Service.create(binary=binary, **place, **words).start()
    wsgi.Server(
        ("127.0.0.1", port),
        application,
        numthreads=8,
        request_queue_size=128,
        timeout=300,
        server_name="emulator",
    ).start()


main(int(sys.argv[1]), sys.argv[2])
