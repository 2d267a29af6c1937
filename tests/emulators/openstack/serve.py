"""One WSGI service of OpenStack on a port of loopback: `serve.py MODULE PORT`. Runs in the emulator's environment."""

from __future__ import annotations

import importlib
import sys


def main(module: str, port: int) -> None:
    sys.argv = sys.argv[:1]
    importlib.import_module("locked")
    application = importlib.import_module(module).application
    from cheroot import wsgi

    wsgi.Server(
        ("127.0.0.1", port),
        application,
        numthreads=8,
        request_queue_size=128,
        timeout=300,
        server_name="emulator",
    ).start()


main(sys.argv[1], int(sys.argv[2]))
