"""A small Octavia: load balancers made whole in one call, pools, members; in memory.

Its rules, from Octavia's API reference (v2, load balancers, members): a balancer is PENDING_CREATE at first and
PENDING_UPDATE after each change, and whatever would change one that is pending is refused with 409; a balancer with
listeners is deleted with cascade only (400); a member's address and port are there once in a pool (409). It becomes
ACTIVE after it was asked `slow` times. It answers with Octavia's envelopes and knows no tokens. With `driver="ovn"` it
refuses with 501 what ovn-octavia-provider refuses (driver.py): any algorithm but SOURCE_IP_PORT and, `watching` being
false, health monitors, as before OVN 20.12. `closed`: the user lacks the role (octavia/policies/base.py).
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Row = dict[str, object]
Answer = tuple[int, object]
MakePort = Callable[[str], tuple[str, str]]
"""A port in a subnet, as Octavia makes one for its address: the port's id and its address."""


@dataclass
class Balancers:
    port: int
    make_port: MakePort
    slow: int = 2
    driver: str = "amphora"
    watching: bool = True
    closed: bool = False
    rows: dict[str, Row] = field(default_factory=dict)
    pools: dict[str, Row] = field(default_factory=dict)
    members: dict[str, Row] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Call it on the stage."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def answer(self, method: str, target: str, body: Row) -> Answer:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.closed:
            policy = "os_load-balancer_api:loadbalancer:get_all"
            return 403, {
                "faultcode": "Client",
                "faultstring": f"Policy does not allow this request to be performed. ({policy})",
            }
        words = parts.path.removeprefix("/v2/lbaas/").removeprefix("/v2.0/lbaas/").split("/")
        if words[0] == "loadbalancers":
            return self._balancer(method, words[1:], body, query)
        if words[0] == "pools" and len(words) <= 2:
            found = [p for p in self.pools.values() if query.get("loadbalancer_id") in (None, p["balancer"])]
            return 200, {"pools": found}
        if words[0] == "pools" and words[1] in self.pools:
            return self._member(method, words[1], words[3:], body)
        return 404, {"faultcode": "Client", "faultstring": f"{parts.path} not found."}

    def _balancer(self, method: str, words: list[str], body: Row, query: dict[str, str]) -> Answer:
        if method == "POST":
            refused = self._cannot(body)
            if refused is not None:
                return refused
            return 201, {"loadbalancer": self._make(dict(body["loadbalancer"]))}  # type: ignore[call-overload]
        if method == "GET" and not words:
            for key in list(self.rows):
                self._age(key)
            return 200, {"loadbalancers": list(self.rows.values())}
        if words[0] not in self.rows:
            return 404, {"faultcode": "Client", "faultstring": f"Load Balancer {words[0]} not found."}
        if method == "GET":
            self._age(words[0])
            return 200, {"loadbalancer": self.rows[words[0]]}
        if self._is_busy(words[0]):
            return self._immutable(words[0])
        if query.get("cascade", "").lower() != "true":
            return 400, {"faultcode": "Client", "faultstring": "Cannot delete Load Balancer: it has children"}
        del self.rows[words[0]]
        gone = [key for key, pool in self.pools.items() if pool["balancer"] == words[0]]
        for key in gone:
            del self.pools[key]
            self.members = {m: row for m, row in self.members.items() if row["pool"] != key}
        return 204, None

    def _cannot(self, body: Row) -> Answer | None:
        """What the driver has not."""
        listeners = body["loadbalancer"].get("listeners", ())  # type: ignore[attr-defined]
        pools = [listener["default_pool"] for listener in listeners]
        said = ""
        if self.driver == "ovn" and any(pool["lb_algorithm"] != "SOURCE_IP_PORT" for pool in pools):
            said = "OVN provider does not support ROUND_ROBIN algorithm"
        if not self.watching and any("healthmonitor" in pool for pool in pools):
            said = "OVN Load Balancer supports no health monitors"
        words = f"Provider '{self.driver}' does not support a requested option: {said}"
        return (501, {"faultcode": "Server", "faultstring": words, "debuginfo": None}) if said else None

    def _make(self, asked: Row) -> Row:
        key = str(uuid.uuid4())
        port, address = self.make_port(str(asked["vip_subnet_id"]))
        listeners = asked.pop("listeners", [])
        row = {
            **asked,
            "id": key,
            "vip_port_id": port,
            "vip_address": address,
            "provisioning_status": "PENDING_CREATE",
        }
        self.rows[key], self.waiting[key] = row, self.slow
        for listener in listeners:  # type: ignore[attr-defined]
            pool = str(uuid.uuid4())
            self.pools[pool] = {"id": pool, "balancer": key, **listener["default_pool"]}
        return row

    def _member(self, method: str, pool: str, words: list[str], body: Row) -> Answer:
        mine = {key: row for key, row in self.members.items() if row["pool"] == pool}
        if method == "GET":
            return 200, {"members": list(mine.values())}
        balancer = str(self.pools[pool]["balancer"])
        if self._is_busy(balancer):
            return self._immutable(balancer)
        if method == "POST":
            asked = dict(body["member"])  # type: ignore[call-overload]
            if any(row["address"] == asked["address"] for row in mine.values()):
                return 409, {
                    "faultcode": "Client",
                    "faultstring": "Another member on this pool is already using it",
                }
            row = {"id": str(uuid.uuid4()), "pool": pool, **asked}
            self.members[str(row["id"])] = row
            self._change(balancer)
            return 201, {"member": row}
        if words[0] not in mine:
            return 404, {"faultcode": "Client", "faultstring": f"Member {words[0]} not found."}
        del self.members[words[0]]
        self._change(balancer)
        return 204, None

    def _change(self, key: str) -> None:
        self.rows[key]["provisioning_status"] = "PENDING_UPDATE"
        self.waiting[key] = self.slow

    def _age(self, key: str) -> None:
        self.waiting[key] = self.waiting.get(key, 0) - 1
        if self.waiting[key] <= 0:
            self.rows[key]["provisioning_status"] = "ACTIVE"

    def _is_busy(self, key: str) -> bool:
        return str(self.rows[key]["provisioning_status"]).startswith("PENDING")

    def _immutable(self, key: str) -> Answer:
        words = f"Load Balancer {key} is immutable and cannot be updated."
        return 409, {"faultcode": "Client", "faultstring": words, "debuginfo": None}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        balancers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, found = balancers.answer(self.command, self.path, json.loads(body or b"{}"))
                answer = b"" if found is None else json.dumps(found).encode()
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do

            def log_message(self, format: str, *words: object) -> None:
                return

        return Handler
