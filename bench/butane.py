"""Butane against the reference library, and many nodes of one config: `.venv/bin/python bench/butane.py`.

Four figures with their targets in one run; exit code 1 above one of them, 2 where the run is not possible.

The reference is Butane's own library, built by `go build` from `bench/reference` into `$FLATYARD_CACHE` (default
`~/.cache/flatyard`). Both translate the same documents in process and read the same files from disk: the golden cases
of `tests/butane` that translate, and one of 160 KB that is made here. They take turns, so that a busy machine slows
both, each turn begins with a round that does not count, and medians are compared. What they write is compared
too. Nothing that ours makes is kept from one document to the next.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.butane import translate
from flatyard.cli.files_dir import DiskFiles
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.facts import limits, traits
from flatyard.decode import Raw
from flatyard.ignition import dataurl
from flatyard.ignition.fit import inline
from flatyard.model.documents import read
from flatyard.node.extras import read_extra
from flatyard.node.inputs import ClusterSettings, JoinWorker, MachineIdentity, NodeRole, PoolSettings
from flatyard.node.render import prepare
from flatyard.pki import new_token
from flatyard.sysext.simulated import simulated_feed

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/butane/golden"
LARGE = "160 KB"
TURNS = 4
ROUNDS = 5
PAIRS = 30
NODES = 1000
SMALL = "units-basic-v11"

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Document:
    """One Butane text; `files`: whether it is translated with the files directory."""

    name: str
    text: bytes
    files: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """Milliseconds of each document in each round, and the config that each became."""

    rounds: tuple[tuple[float, ...], ...]
    outputs: tuple[str, ...]

    def median(self, places: Sequence[int]) -> float:
        """Of a round's time for the documents at some places."""
        return statistics.median(sum(taken[place] for place in places) for taken in self.rounds)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result: what was measured, against what, and the most that it may be."""

    name: str
    said: str
    value: float
    most: float

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.value <= self.most

    def __str__(self) -> str:
        verdict = "" if self.met else "   ABOVE THE TARGET"
        return f"{self.name:34} {self.said:46} {self.value:8.3f}   at most {self.most:g}{verdict}"


def main() -> int:
    """Print the figures; 0 when all targets are met."""
    go = shutil.which("go")
    if go is None:
        print(
            "no go on PATH: the reference library cannot be built; install Go 1.25 or newer", file=sys.stderr
        )
        return 2
    try:
        reference = built(go)
    except subprocess.CalledProcessError as problem:
        print(f"the reference library cannot be built: {' '.join(problem.cmd[:2])} failed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        figures, different = measured(reference, Path(folder))
    for name in different:
        print(f"{name}: the two configs differ")
    for figure in figures:
        print(figure)
    return verdict(figures, different)


def measured(reference: Path, folder: Path) -> tuple[list[Figure], list[str]]:
    """All figures, and the names of documents that the two translate differently."""
    files = folder / "files"
    lay_out(files)
    documents = [*golden(), Document(LARGE, large().encode())]
    theirs, ours = by_turns(reference, documents, files)
    different = differing(documents, theirs.outputs, ours.outputs)
    figures = [*speed(documents, theirs, ours), *sizes(theirs.outputs, ours.outputs)]
    return [*figures, *process(folder), *rendering()], different


def verdict(figures: Sequence[Figure], different: Sequence[str]) -> int:
    """The exit code: 0 when every target is met by configs that are the same."""
    return 0 if all(figure.met for figure in figures) and not different else 1


# ---- the documents


def golden() -> list[Document]:
    """The golden cases that translate."""
    cases = map(json.loads, (GOLDEN / "cases.jsonl").read_text().splitlines())
    return [
        Document(
            case["name"], case["butane"].encode("utf-8", "surrogateescape"), bool(case.get("files_dir", True))
        )
        for case in cases
        if case["exit"] == 0
    ]


def lay_out(target: Path) -> None:
    """The golden files directory with the modes and links that a checkout does not keep."""
    shutil.copytree(GOLDEN / "files", target)
    for path, mode in json.loads((GOLDEN / "FILES.json").read_text())["modes"].items():
        place = target / path
        if mode.startswith("link:"):
            place.unlink(missing_ok=True)
            place.symlink_to(mode.removeprefix("link:"))
        else:
            place.chmod(int(mode, 8))


def large() -> str:
    """A document of 160 KB: 150 manifests as files, 100 units."""
    lines = ["variant: flatcar", "version: 1.1.0", "storage:", "  files:"]
    for number in range(150):
        lines += [f"    - path: /etc/kubernetes/addons/app-{number:03}.yaml", "      mode: 0644"]
        lines += ["      contents:", "        inline: |"]
        lines += [f"          {line}" for line in manifest(number)]
    lines += ["systemd:", "  units:"]
    for number in range(100):
        lines += [f"    - name: app-{number:03}.service", "      enabled: true", "      contents: |"]
        lines += [f"        {line}" for line in unit(number)]
    return "\n".join(lines) + "\n"


def manifest(number: int) -> list[str]:
    """A Deployment of its own."""
    name = f"app-{number:03}"
    return [
        "apiVersion: apps/v1",
        "kind: Deployment",
        "metadata:",
        f"  name: {name}",
        f"  namespace: team-{number % 7}",
        f'  labels: {{app.kubernetes.io/name: {name}, tier: "{number % 3}"}}',
        "spec:",
        f"  replicas: {number % 5 + 1}",
        f"  selector: {{matchLabels: {{app.kubernetes.io/name: {name}}}}}",
        "  template:",
        f"    metadata: {{labels: {{app.kubernetes.io/name: {name}}}}}",
        "    spec:",
        "      containers:",
        "        - name: main",
        f"          image: registry.example/{name}:1.{number}.0",
        f"          ports: [{{containerPort: {8000 + number}}}]",
        f"          resources: {{requests: {{cpu: {10 * number + 50}m, memory: {64 + number}Mi}}}}",
        f"          readinessProbe: {{httpGet: {{path: /healthz, port: {8000 + number}}}}}",
    ]


def unit(number: int) -> list[str]:
    """A service of its own."""
    name = f"app-{number:03}"
    return [
        "[Unit]",
        f"Description=Application {number}",
        "After=network-online.target",
        "Wants=network-online.target",
        "[Service]",
        f"Environment=PORT={8000 + number}",
        f"ExecStart=/opt/bin/app --name {name} --port {8000 + number}",
        "Restart=always",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


# ---- the two translators


def built(go: str) -> Path:
    """The reference as a program, built if this source and this Go have not made one yet."""
    source = ROOT / "bench/reference"
    env = os.environ | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
    }
    version = subprocess.run([go, "version"], env=env, check=True, capture_output=True).stdout
    made_of = version + b"".join((source / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    cache = Path(os.environ.get("FLATYARD_CACHE") or Path.home() / ".cache/flatyard")
    target = cache / f"butane-reference-{hashlib.sha256(made_of).hexdigest()[:16]}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        command = [go, "build", "-trimpath", "-o", str(fresh), "."]
        subprocess.run(command, cwd=source, env=env, check=True, stdout=sys.stderr)
        fresh.replace(target)
    return target


def by_turns(reference: Path, documents: Sequence[Document], files: Path) -> tuple[Run, Run]:
    """The reference's run and ours, in turns of a few rounds each."""
    turns = [(theirs(reference, documents, files), ours(documents, files)) for _ in range(TURNS)]
    return joined([turn[0] for turn in turns]), joined([turn[1] for turn in turns])


def joined(runs: Sequence[Run]) -> Run:
    """Several runs over the same documents as one."""
    return Run(tuple(taken for run in runs for taken in run.rounds), runs[-1].outputs)


def theirs(reference: Path, documents: Sequence[Document], files: Path) -> Run:
    """Some rounds in a process of the reference, which times itself."""
    cases = [
        {"name": each.name, "text": base64.b64encode(each.text).decode(), "files": each.files}
        for each in documents
    ]
    asked = json.dumps({"rounds": ROUNDS, "files": str(files), "cases": cases})
    done = subprocess.run([reference], input=asked, text=True, check=True, stdout=subprocess.PIPE)
    answer = json.loads(done.stdout)
    rounds = tuple(tuple(taken / 1e6 for taken in each) for each in answer["rounds"])
    return Run(rounds, tuple(answer["outputs"]))


def ours(documents: Sequence[Document], files: Path) -> Run:
    """Some rounds in this process."""
    outputs: tuple[str, ...] = ()
    rounds = []
    for number in range(ROUNDS + 1):
        done = [timed(each, files) for each in documents]
        outputs = tuple(output.decode() for _, output in done)
        if number:
            rounds.append(tuple(taken for taken, _ in done))
    return Run(tuple(rounds), outputs)


def timed(document: Document, files: Path) -> tuple[float, bytes]:
    """One document: milliseconds, and the config without its newline, as the reference's library gives it."""
    start = time.perf_counter()
    output = translate(document.text, files=DiskFiles(files) if document.files else None).output()
    taken = time.perf_counter() - start
    return taken * 1000, output.removesuffix(b"\n")


# ---- the figures


def speed(documents: Sequence[Document], theirs: Run, ours: Run) -> Iterator[Figure]:
    """Our time as a part of the reference's, for the golden cases together and for the large one."""
    places = [place for place, each in enumerate(documents) if each.name != LARGE]
    for name, chosen, most in (
        (f"1 golden, {len(places)} documents", places, 1 / 3),
        (f"1 {LARGE}", [place for place in range(len(documents)) if place not in places], 1 / 6),
    ):
        mine, other = ours.median(chosen), theirs.median(chosen)
        yield Figure(name, f"{mine:7.1f} ms, reference {other:7.1f} ms", mine / other, round(most, 3))


def sizes(theirs: Sequence[str], ours: Sequence[str]) -> Iterator[Figure]:
    """How many resources that either side compressed came out larger here than there."""
    pairs = [
        pair
        for one, other in zip(theirs, ours, strict=True)
        for pair in packed(json.loads(one), json.loads(other))
    ]
    larger = sum(mine > other for other, mine in pairs)
    said = f"{sum(mine for _, mine in pairs)} bytes, reference {sum(other for other, _ in pairs)}"
    yield Figure(f"2 gzip, larger of {len(pairs)} resources", said, larger, 0)


def packed(one: Json, other: Json) -> Iterator[tuple[int, int]]:
    """Lengths as written, in both configs, of each resource that one of them has compressed."""
    if isinstance(one, list) and isinstance(other, list):
        for left, right in zip(one, other, strict=False):  # `differing` says what is missing
            yield from packed(left, right)
    elif isinstance(one, dict) and isinstance(other, dict):
        if "gzip" in (one.get("compression"), other.get("compression")):
            yield written(one), written(other)
        for key in one.keys() & other.keys():
            yield from packed(one[key], other[key])


def written(resource: Mapping[str, Json]) -> int:
    """The length of a resource's source and compression together."""
    return len(str(resource.get("source", ""))) + len(str(resource.get("compression", "")))


def differing(documents: Sequence[Document], theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Names of the documents whose configs are not the same after unpacking."""
    pairs = zip(documents, theirs, ours, strict=True)
    return [
        each.name for each, one, other in pairs if unpacked(json.loads(one)) != unpacked(json.loads(other))
    ]


def unpacked(value: Json) -> Json:
    """A config with the bytes of its `data:` URLs, in hex, in place of their form."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    source = value.get("source")
    if not isinstance(source, str) or not source.startswith("data:"):
        return {key: unpacked(item) for key, item in value.items()}
    data = dataurl.decode(source)
    if value.get("compression") == "gzip" and data.startswith(b"\x1f\x8b"):
        data = dataurl.decompress(data)
    return {**value, "source": data.hex(), "compression": "compression" in value}


def process(folder: Path) -> Iterator[Figure]:
    """A whole process on a small file against a bare interpreter, in alternating pairs."""
    small = folder / "small.bu"
    small.write_bytes(next(each.text for each in golden() if each.name == SMALL))
    bare = (sys.executable, "-S", "-c", "pass")
    command = (str(Path(sys.executable).parent / "flatyard"), "butane", str(small))
    for each in (bare, command):
        wall(each)  # the first run compiles and fills caches
    pairs = [(wall(bare), wall(command)) for _ in range(PAIRS)]
    floor, mine = (statistics.median(taken) for taken in zip(*pairs, strict=True))
    said = f"{mine:7.1f} ms, python -S -c pass {floor:5.1f} ms"
    yield Figure(f"3 flatyard butane, {small.stat().st_size} bytes", said, mine / floor, 4)


def wall(command: Sequence[str]) -> float:
    """Milliseconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def rendering() -> Iterator[Figure]:
    """User data for many workers of an example that differ in name and token."""
    render = renderer()
    runs = [clocked(render) for _ in range(3)]
    assert all(len(set(made)) == NODES for _, made in runs), "two nodes got the same user data"
    said = f"{len(runs[0][1][0])} bytes each"
    yield Figure(f"4 user data of {NODES} workers, s", said, statistics.median(taken for taken, _ in runs), 1)


def clocked(render: Callable[[int], list[bytes]]) -> tuple[float, list[bytes]]:
    """Seconds, and the user data of all nodes."""
    start = time.perf_counter()
    made = render(NODES)
    return time.perf_counter() - start, made


def renderer() -> Callable[[int], list[bytes]]:
    """Prepares a pool from the example's texts and renders that many of its workers; all of it counts."""
    cluster = read([("aws.yaml", (ROOT / "examples/aws.yaml").read_text())], need_cluster=True).cluster
    assert cluster is not None
    extra = (ROOT / "examples/kubernetes-sysext.bu").read_text()
    version = cluster.spec.kubernetes.version
    image = simulated_feed([version]).image(version)
    settings = ClusterSettings(
        name=cluster.metadata.name,
        id="01J00000000000000000000000",
        kubernetes=version,
        endpoint_host="api.example",
    )
    world = SeededWorld(1, lambda: 0.0, SIMULATED_EPOCH)
    nodes = [
        (
            MachineIdentity(id=f"01J{number:023}", name=f"general-a-{number}"),
            JoinWorker(new_token(world), "sha256:" + "0" * 64),
        )
        for number in range(NODES)
    ]

    def render(count: int) -> list[bytes]:
        pool = PoolSettings(
            role=NodeRole.WORKER,
            name=cluster.spec.workers[0].name,
            kubelet=version,
            image=image,
            ssh_keys=cluster.spec.access.ssh_keys,
            extras=(read_extra(Raw(extra)),),
        )
        template = prepare(settings, pool, traits(FACTS))
        made = (inline(template.render(*node), limits(FACTS).user_data_bytes) for node in nodes[:count])
        return [cast(bytes, each) for each in made]

    return render


if __name__ == "__main__":
    sys.exit(main())
