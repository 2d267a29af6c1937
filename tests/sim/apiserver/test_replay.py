"""The recorded exchanges of real clients with a real kube-apiserver, replayed against the simulated API.

The recordings and their rules are in golden/ (MANIFEST.json: "normalisation", "replay", "not_comparable").
Everything runs in simulated time, so that waiting for the garbage collector or for a watch to end is free.
"""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import yaml

from flatyard.base.world import SeededWorld
from flatyard.kube.memory import MemoryApi
from flatyard.sim import loop
from flatyard.sim.apiserver.cluster import make_api
from flatyard.sim.apiserver.server import ApiServer

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
TOKEN = "recorded"
SYMBOL = re.compile(r"«(uid|rv|continue)(\d+)»")
PARTS = re.compile(r"(«[a-z0-9]+»)")
SHAPES = {
    "«time»": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "«microtime»": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "«age»": r"(?:\d+[ydhms])+",
}
BOUND_SHAPES = {"uid": r"([0-9a-f-]{36})", "rv": r"(\d+)", "continue": r"(.+)"}
UNBOUND = {"uid": "00000000-0000-0000-0000-{:012d}", "rv": "1", "continue": "x"}
OUT_OF_SCOPE = tomllib.loads((HERE / "out_of_scope.toml").read_text())
RECORDED_WITH = [yaml.safe_load(path.read_text()) for path in sorted(GOLDEN.glob("crds/*.yaml"))]
"""The definitions that stood in the recorded cluster; the product's have grown since."""
SCENARIOS = sorted(
    str(path.parent.relative_to(GOLDEN / "open")) for path in GOLDEN.glob("open/**/exchanges.json")
)
BETWEEN_STEPS = 0.15
"""Seconds between two steps, in which the garbage collector gets its turn."""
LATER = 6.0
"""Seconds for which a GET is repeated, so that garbage and namespace controllers may catch up."""

REBUILT = {
    ("delete-namespace", 1): {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
    ("errors-http", 165): '{"apiVersion": "cluster.k8s.io/v1alpha1", "kind": "Machine", '
    '"metadata": {"name": "dupkey", "namespace": "kube-system"}, "spec": {}, "spec": {}}',
    ("delete-namespace", 16): {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}},
}
"""Bodies that the recording left out: protobuf, which the commands describe, and a key that is there twice."""


def literal_tokens(folder: Path) -> dict[str, str]:
    """Continue tokens that the recorder made up itself, by the symbol that stands for them."""
    tokens: dict[str, str] = {}
    commands = re.findall(r"^\[(\d+)\] http: GET (\S+)", (folder / "commands.txt").read_text(), re.M)
    urls = {int(step): dict(parse_qsl(urlsplit(url).query)) for step, url in commands}
    for exchange in json.loads((folder / "exchanges.json").read_text())["exchanges"]:
        sent = dict(exchange["query"]).get("continue", "")
        if sent.startswith("«") and exchange["step"] in urls:
            tokens.setdefault(sent, urls[exchange["step"]]["continue"])
    return tokens


class Client:
    """Talks ASGI to the server, in the same event loop."""

    def __init__(self, app: ApiServer) -> None:
        self._app = app

    def scope(self, exchange: dict, query: str) -> dict:
        headers = {k.lower(): v for k, v in exchange["request"]["headers"].items() if k != "If-None-Match"}
        if headers.get("content-type") == "application/vnd.kubernetes.protobuf":
            headers["content-type"] = "application/json"
        if not exchange.get("anonymous"):
            headers["authorization"] = f"Bearer {TOKEN}"
        return {
            "type": "http",
            "method": exchange["method"],
            "path": exchange["path"],
            "query_string": query.encode(),
            "headers": [(k.encode(), str(v).encode()) for k, v in headers.items()],
            "server": ("127.0.0.1", 6443),
            "scheme": "https",
        }

    async def call(
        self, exchange: dict, query: str, body: bytes, sent: list[dict], gone: asyncio.Event
    ) -> None:
        asked = False

        async def receive() -> dict:
            nonlocal asked
            if asked:
                await gone.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        await self._app(self.scope(exchange, query), receive, send)


class Watching:
    """A watch that runs beside the other exchanges."""

    def __init__(self, exchange: dict) -> None:
        self.exchange = exchange
        self.sent: list[dict] = []
        self.gone = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def events(self) -> list[dict]:
        body = b"".join(m["body"] for m in self.sent if m["type"] == "http.response.body")
        return significant(json.loads(line) for line in body.splitlines())


def significant(events: Iterator[dict]) -> list[dict]:
    """Events without plain bookmarks, whose number depends on time."""
    return [e for e in events if e["type"] != "BOOKMARK" or "annotations" in e["object"].get("metadata", {})]


class Replay:
    """Sends a scenario's requests in order and compares the answers; `differences` is by exchange."""

    def __init__(self, api: MemoryApi, folder: Path) -> None:
        self.api = api
        self.scenario = folder.name
        self.exchanges = json.loads((folder / "exchanges.json").read_text())["exchanges"]
        self.client = Client(ApiServer(api, token=TOKEN))
        self.bound: dict[str, str] = {}
        self.literal = literal_tokens(folder)
        self.count = 0
        self.differences: dict[int, list[str]] = {}
        self.compact_before = 8 if folder.name == "compaction-410" else 0

    # ---- symbols

    def put(self, value: object) -> object:
        """Symbols replaced by what they stand for in this run."""
        if isinstance(value, str):
            text = SYMBOL.sub(self._bound, value)
            return text.replace("«time»", "2026-01-01T00:00:00Z").replace(
                "«microtime»", "2026-01-01T00:00:00.000001Z"
            )
        if isinstance(value, list):
            return [self.put(item) for item in value]
        if isinstance(value, dict):
            return {self.put(k): self.put(v) for k, v in value.items() if not k.startswith("$trimmed")}
        return value

    def _bound(self, found: re.Match) -> str:
        symbol = found[0]
        if symbol in self.bound:
            return self.bound[symbol]
        return self.literal.get(symbol) or UNBOUND[found[1]].format(int(found[2]))

    # ---- comparison

    def compare(self, want: object, got: object, at: str, out: list[str], *, loose: bool = False) -> None:
        """Note where `got` is not what was recorded; `loose` versions need only not go back."""
        if isinstance(want, dict):
            self._compare_object(want, got, at, out, loose=loose)
        elif isinstance(want, list):
            self._compare_list(want, got, at, out)
        elif isinstance(want, str) and "«" in want:
            self._compare_symbols(want, got, at, out, loose=loose)
        elif want != got or type(want) is not type(got):
            out.append(f"{at}: want {shown(want)}, got {shown(got)}")

    def _compare_object(self, want: dict, got: object, at: str, out: list[str], *, loose: bool) -> None:
        if want.keys() & {"$body", "$trimmed", "$binary"}:
            return
        if not isinstance(got, dict):
            out.append(f"{at}: want an object, got {shown(got)}")
            return
        is_list = "items" in want or "rows" in want
        if want.get("kind") == "APIResourceList":
            want, got = by_name(want), by_name(got)
        for key in sorted({**want, **got}):
            where = f"{at}.{key}"
            if key == "managedFields" or (key == "description" and in_own_words(at, want)):
                continue
            if key not in want:
                out.append(f"{where}: unexpected {shown(got[key])}")
            elif key not in got:
                out.append(f"{where}: missing, want {shown(want[key])}")
            else:
                listed = (is_list and key == "metadata") or (loose and key == "resourceVersion")
                self.compare(want[key], got[key], where, out, loose=listed)

    def _compare_list(self, want: list, got: object, at: str, out: list[str]) -> None:
        if not isinstance(got, list) or len(want) != len(got):
            out.append(
                f"{at}: want {len(want)} items, got {len(got) if isinstance(got, list) else shown(got)}"
            )
            return
        if at.endswith(".finalizers"):
            want, got = sorted(want), sorted(got)
        for i, (a, b) in enumerate(zip(want, got, strict=True)):
            self.compare(a, b, f"{at}[{i}]", out)

    def _compare_symbols(self, want: str, got: object, at: str, out: list[str], *, loose: bool) -> None:
        names: list[str] = []
        pattern = ""
        for part in PARTS.split(want):
            found = SYMBOL.fullmatch(part)
            if (
                found
                and part in self.bound
                and not loose
                and found[1] != "continue"
                and not at.endswith("message")
            ):
                pattern += re.escape(self.bound[part])
            elif found:
                names.append(part)
                pattern += BOUND_SHAPES[found[1]]
            else:
                pattern += SHAPES.get(part, ".*?" if PARTS.fullmatch(part) else re.escape(part))
        match = re.fullmatch(pattern, got, re.S) if isinstance(got, str) else None
        if match is None:
            out.append(f"{at}: want {self.put(want)} ({want}), got {shown(got)}")
            return
        for name, value in zip(names, match.groups(), strict=True):
            if loose and name.startswith("«rv") and int(value) < int(self.bound.get(name, 0)):
                out.append(f"{at}: the list's version {value} is older than {self.bound[name]}")
            if name not in self.bound or name.startswith("«continue"):
                self.bound[name] = value

    # ---- exchanges

    def query(self, exchange: dict) -> str:
        return urlencode([(key, self.put(value)) for key, value in exchange["query"]])

    def body(self, exchange: dict) -> bytes:
        body = REBUILT.get((self.scenario, exchange["start"]), exchange["request"].get("body"))
        if body is None:
            return b""
        body = self.put(body)
        return (body if isinstance(body, str) else json.dumps(body)).encode()

    async def once(self, exchange: dict) -> list[str]:
        """Send one request; the differences."""
        sent: list[dict] = []
        await self.client.call(exchange, self.query(exchange), self.body(exchange), sent, asyncio.Event())
        start, *rest = sent
        headers = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        content = b"".join(m.get("body", b"") for m in rest)
        return self.check(exchange["response"], start["status"], headers, content)

    def check(self, want: dict, status: int, headers: dict[str, str], content: bytes) -> list[str]:
        out: list[str] = []
        recorded = {k.lower(): v for k, v in (want["headers"] or {}).items()}
        if status != want["status"]:
            out.append(f"status: want {want['status']}, got {status}: {content[:300]!r}")
        for name in ("content-type", "retry-after", "warning"):
            a, b = recorded.get(name), headers.get(name)
            a = a[0] if isinstance(a, list) else a
            if name == "content-type":
                a, b = (a or "").partition(";")[0], (b or "").partition(";")[0]
            if a != b:
                out.append(f"{name}: want {a}, got {b}")
        if (
            status == want["status"]
            and "body" in want
            and recorded.get("content-type", "").startswith("application/json")
        ):
            self.compare(want["body"], json.loads(content) if content else None, "$", out)
        return out

    async def until_same(self, exchange: dict) -> list[str]:
        """Send a request; a GET is repeated for a while until it is answered as recorded."""
        end = asyncio.get_running_loop().time() + LATER
        while True:
            before = dict(self.bound)
            out = await self.once(exchange)
            again = exchange["method"] == "GET" and asyncio.get_running_loop().time() < end
            if not out or not again:
                return out
            self.bound = before
            await asyncio.sleep(0.1)

    async def start_watch(self, exchange: dict) -> Watching:
        watching = Watching(exchange)
        call = self.client.call(exchange, self.query(exchange), b"", watching.sent, watching.gone)
        watching.task = asyncio.create_task(call)
        await asyncio.sleep(0.001)
        return watching

    async def end_watch(self, watching: Watching) -> None:
        want = significant(iter(watching.exchange["response"]["events"]))
        for _ in range(60):
            if len(watching.events()) >= len(want) or watching.task.done():
                break
            await asyncio.sleep(0.1)
        watching.gone.set()
        await watching.task
        out: list[str] = []
        got = watching.events()
        for i, (a, b) in enumerate(zip(want, got, strict=False)):
            if a["type"] != b["type"]:
                out.append(f"event {i}: want {a['type']}, got {b['type']}")
            self.compare(
                a["object"], b["object"], f"event {i} {a['type']}", out, loose=a["type"] == "BOOKMARK"
            )
        if len(want) != len(got):
            out.append(f"want events {[e['type'] for e in want]}, got {[e['type'] for e in got]}")
        self.note(watching.exchange, out)

    def note(self, exchange: dict, out: list[str]) -> None:
        self.count += 1
        if out:
            self.differences[exchange["start"]] = [exchange["method"] + " " + exchange["path"], *out]

    async def run(self) -> None:
        live: list[Watching] = []
        step = 0
        begun = self.api.storage.version
        for exchange in self.exchanges:
            for watching in [
                w for w in live if w.exchange.get("end") and w.exchange["end"] < exchange["start"]
            ]:
                live.remove(watching)
                await self.end_watch(watching)
            if self.compact_before and str(exchange["step"]) == str(self.compact_before):
                self.compact_before = 0
                self.api.storage.compact(begun)
            if exchange["step"] != step:
                step = exchange["step"]
                await asyncio.sleep(BETWEEN_STEPS)
            if exchange.get("injected") or exchange["response"]["status"] in (None, 304):
                continue
            if "events" in exchange["response"]:
                live.append(await self.start_watch(exchange))
            else:
                self.note(exchange, await self.until_same(exchange))
        for watching in live:
            await self.end_watch(watching)


def in_own_words(at: str, column: dict) -> bool:
    """Whether a description is one that the real server takes from its Go sources."""
    return "columnDefinitions" in at and not column["description"].startswith(
        "Custom resource definition column"
    )


def by_name(listing: dict) -> dict:
    """A list of resources in a fixed order; the real server's is that of a Go map."""
    return {**listing, "resources": sorted(listing["resources"], key=lambda entry: entry["name"])}


def shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]


def replay(scenario: str) -> Replay:
    """Run one scenario against a new API."""

    async def run() -> Replay:
        running = asyncio.get_running_loop()
        api = await make_api(
            SeededWorld(1, running.time), budgets=False, port=26443, definitions=RECORDED_WITH
        )
        replayed = Replay(api, GOLDEN / "open" / scenario)
        await replayed.run()
        return replayed

    return loop.run(run())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_in_scope_is_answered_as_recorded_and_nothing_else_is_left_out(scenario: str) -> None:
    replayed = replay(scenario)
    listed = OUT_OF_SCOPE.get(scenario, {})
    unexplained = {}
    for start, (request, *out) in replayed.differences.items():
        allowed = listed.get(str(start), {"differs": []})
        places = [""] if isinstance(allowed, str) else allowed["differs"]
        left = [line for line in out if not line.startswith(tuple(places))]
        left += [
            f"{place} does not differ any more"
            for place in places
            if not any(o.startswith(place) for o in out)
        ]
        if left:
            unexplained[start] = "\n      ".join((request, *left))
    text = "\n".join(f"{start}: {lines}" for start, lines in unexplained.items())
    assert not unexplained, f"{replayed.count} exchanges, {len(unexplained)} differ\n{text}"
    answered = {int(start) for start in listed} - set(replayed.differences)
    assert not answered, "these are answered as recorded now: take them off the list"


def test_every_recorded_scenario_is_there() -> None:
    manifest = json.loads((GOLDEN / "MANIFEST.json").read_text())
    assert {scenario.partition("/")[0] for scenario in SCENARIOS} == set(manifest["scenarios"])
    for entry in (entry for entries in OUT_OF_SCOPE.values() for entry in entries.values()):
        assert entry if isinstance(entry, str) else entry["reason"] and entry["differs"]
