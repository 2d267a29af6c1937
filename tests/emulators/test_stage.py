"""What runs on a stage reaches itself and nothing else, and nothing of it is left."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulated
SERVER = """
import http.server
http.server.HTTPServer(("127.0.0.1", 80), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_server_is_reached_by_threads_and_commands_of_its_stage_alone(stage):
    stage.own("172.24.4.0/24")
    stage.start("web", [sys.executable, "-c", SERVER], port=80)
    with stage.hosts.open("a") as hosts:
        hosts.write("127.0.0.1 web.invalid\n")

    async def ask(host: str) -> bytes:
        reader, writer = await asyncio.open_connection(host, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read(12)
        writer.close()
        return answer

    assert stage.run(lambda: ask("127.0.0.1")) == b"HTTP/1.0 200"
    assert stage.command("getent", "hosts", "web.invalid").stdout.startswith("127.0.0.1")
    assert stage.inside(lambda: socket.create_server(("172.24.4.9", 0)).getsockname()[0]) == "172.24.4.9"
    with pytest.raises(OSError, match=r"unreachable|Network"):
        stage.run(lambda: ask("192.0.2.1"))


def test_nothing_is_left_of_a_stage(new_stage):
    made = new_stage("gone")
    made.start("web", [sys.executable, "-c", SERVER], port=80)
    made.close()
    listed = subprocess.run(("ip", "netns", "list"), capture_output=True, text=True, check=True).stdout
    assert made.name not in listed
    assert not Path("/etc/netns", made.name).exists()
