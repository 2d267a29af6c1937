"""What the server says about itself: types, definitions, discovery, OpenAPI."""

from __future__ import annotations

import asyncio
import json
import runpy
from pathlib import Path

import pytest
import yaml

from flatyard.base.world import SeededWorld
from flatyard.kube import crds
from flatyard.kube.kinds import BUILT_IN
from flatyard.sim import loop
from flatyard.sim.apiserver import discovery, openapi
from flatyard.sim.apiserver.cluster import make_api
from flatyard.sim.apiserver.server import ApiServer
from flatyard.sim.apiserver.strategic import MERGE_KEYS, MERGED_VALUES, RETAINS_KEYS
from flatyard.sim.apiserver.types import ALWAYS, KEPT_EMPTY, OMITTED_ZEROS, fields, type_name

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
KINDS = (*BUILT_IN, *crds.kinds())
ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def get(path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask a new server for something."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    async def run() -> None:
        api = await make_api(SeededWorld(1, asyncio.get_running_loop().time))
        lines = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": lines}
        await ApiServer(api)({**scope, "server": ("127.0.0.1", 1), "scheme": "https"}, receive, send)

    loop.run(run())
    found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


def test_the_table_of_types_is_what_lightkube_says() -> None:
    generator = runpy.run_path(str(HERE / "lightkube_types.py"))
    assert generator["TABLE"].read_text() == generator["text"](), "run tests/sim/apiserver/lightkube_types.py"


def test_the_tables_about_types_name_fields_that_exist() -> None:
    named = [
        (name, field)
        for table in (ALWAYS, KEPT_EMPTY, OMITTED_ZEROS)
        for name in table
        for field in table[name]
    ]
    unknown = [(n, f) for n, f in (*named, *MERGE_KEYS, *MERGED_VALUES, *RETAINS_KEYS) if f not in fields(n)]
    assert not unknown
    assert all(fields(type_name(kind)) for kind in BUILT_IN)


def test_the_definitions_have_only_grown_since_the_recordings() -> None:
    """What they have more is named here: a column for the phase, and the endpoint and the feed of a cluster file."""
    for definition in crds.definitions():
        recorded = yaml.safe_load((GOLDEN / f"crds/{definition['metadata']['name']}.yaml").read_text())
        (version,) = definition["spec"]["versions"]
        kind = definition["spec"]["names"]["kind"]
        if kind == "Machine":
            columns = version["additionalPrinterColumns"]
            version["additionalPrinterColumns"] = [c for c in columns if c["name"] != "Phase"]
        elif kind == "Cluster":
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            del spec["endpoint"]
            del spec["kubernetes"]["properties"]["feed"]
        assert definition == recorded


@pytest.mark.parametrize(("body", "core"), [("099fdbc9c587295c", True), ("dc81bc7b39791222", False)])
def test_aggregated_discovery_describes_kinds_as_the_real_server_does(body, core) -> None:
    recorded = json.loads((GOLDEN / f"bodies/{body}.json").read_text())
    wanted = {
        (g["metadata"].get("name"), r["resource"]): r
        for g in recorded["items"]
        for r in g["versions"][0]["resources"]
    }
    compared = 0
    for group in discovery.aggregated(KINDS, core=core)["items"]:
        for resource in group["versions"][0]["resources"]:
            want = wanted.get((group["metadata"].get("name"), resource["resource"]))
            if want is None:
                continue
            served = {s["subresource"] for s in resource.get("subresources", ())}
            want["subresources"] = [s for s in want.get("subresources", ()) if s["subresource"] in served]
            assert {**resource, "subresources": resource.get("subresources", [])} == want
            compared += 1
    assert compared >= (10 if core else 9)


def test_discovery_is_kept_by_clients() -> None:
    status, headers, _ = get("/apis", accept=ACCEPT)
    assert (status, headers["content-type"]) == (200, discovery.AGGREGATED.format(version="v2"))
    status, _, content = get("/apis", accept=ACCEPT, if_none_match=headers["etag"])
    assert (status, content) == (304, b"")


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("name", openapi.paths(KINDS))
def test_openapi_documents_are_whole(name) -> None:
    status, _, content = get(f"/openapi/v3/{name}")
    document = json.loads(content)
    assert status == 200
    known = {f"#/components/schemas/{schema}" for schema in document["components"]["schemas"]}
    assert references(document) <= known
    kinds = [k for k in KINDS if (f"apis/{k.resource.api_version}" if k.resource.group else "api/v1") == name]
    for kind in kinds:
        collection = kind.resource.path("{namespace}" if kind.resource.namespaced else "")
        parameters = document["paths"][f"{collection}/{{name}}"]["patch"]["parameters"]
        assert "fieldValidation" in [p["name"] for p in parameters]


def test_openapi_tells_clients_how_lists_merge() -> None:
    _, _, content = get("/openapi/v3/api/v1")
    schemas = json.loads(content)["components"]["schemas"]
    ports = schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert (ports["x-kubernetes-patch-merge-key"], ports["x-kubernetes-patch-strategy"]) == ("port", "merge")


def test_nothing_is_claimed_that_is_not_simulated() -> None:
    version = json.loads(get("/version")[2])
    assert "simulated" in version["goVersion"] and version["gitVersion"] == "v1.34.3"


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/healthz", 200, b"ok"),
        ("/readyz", 200, b"ok"),
        ("/openapi/v2", 404, b"openapi/v3"),
        ("/apis/nope/v1", 404, b"404 page not found"),
        ("/apis/batch/v1/namespaces/default/jobs", 404, b"404 page not found"),
        ("/api/v1/namespaces/default/pods/x/log", 404, b"not found"),
    ],
)
def test_what_stands_beside_the_objects(path, status, word) -> None:
    found, _, content = get(path)
    assert found == status and word in content
