"""Coverage-guided fuzzing of one target with atheris: `python tests/fuzz/run.py TARGET [--seconds N] [--seed N]`.

Begins with the golden cases, the committed corpus and what earlier runs found, and keeps what reaches new code in
the cache ($FLATYARD_CACHE/fuzz/TARGET); an input that fails goes to found-TARGET beside it. With a FILE, that input
is run once, without atheris. With `--merge` nothing is fuzzed: the inputs of the cache that reach more than the golden
cases and the committed corpus do, smallest first, are added to the corpus.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
PACKAGES = ("flatyard.butane", "flatyard.decode", "flatyard.ignition")
LONGEST = 2048
SECONDS_FOR_ONE = 60
MEMORY_MB = 2048
HAND_OVER = "--libfuzzer"
"""What follows are libFuzzer's own arguments."""
MISSING = (
    "atheris is not installed, so nothing can be fuzzed here: its wheels are for CPython on Linux x86-64 "
    "(pyproject.toml, group dev; ./test installs it). The corpus is run without it by tests/fuzz/test_fuzz.py."
)
WORDS = (
    *"|- >- ~ << &a *a !!binary !!int !!null --- ... true false null 0644 1.1.0 1.0.0 1.2.0-experimental".split(),
    *"3.4.0 3.3.0 3.6.0 flatcar gzip sha512- sha256- data:, data:;base64, https://a/ s3://a/ arn:aws:s3:::a/b".split(),
    *"/etc/ /dev/ .service .mount .conf .container @ %41 \\\\ [Unit] [Install] WantedBy= ext4 swap raid1 ../".split(),
    *"\\xff \\x00 \\xef\\xbb\\xbf \\xc2\\x85 \\x0d\\x0a \\x09 \\\\ud800 -1 4294967296 1e3 http_headers".split(),
)


Mutate = Callable[[bytes, int, int], bytes]


def cache(target: str) -> Path:
    """Where a target's inputs are kept from run to run."""
    home = os.environ.get("FLATYARD_CACHE") or Path.home() / ".cache/flatyard"
    return Path(home) / "fuzz" / target


def instrumented() -> tuple[Any, dict[str, Any]]:
    """atheris, and the names of targets.py with everything that they call counted.

    Nothing of flatyard may be imported before: what is loaded already is not counted.
    """
    assert not any(name.startswith("flatyard.") for name in sys.modules)
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit(MISSING)
    with atheris.instrument_imports(include=list(PACKAGES), enable_loader_override=False):
        for package in map(importlib.import_module, PACKAGES):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        names = runpy.run_path(str(HERE / "targets.py"))
    return atheris, names


def keys() -> list[tuple[str, str]]:
    """The fields of all structs, in YAML's spelling and in JSON's."""
    from flatyard.butane import source
    from flatyard.ignition import schema, types

    known = [cls for module in (source, types) for cls in vars(module).values() if isinstance(cls, type)]
    structs = [cls for cls in known if hasattr(cls, "__dataclass_fields__")]
    return sorted({(field.attr, field.key) for cls in structs for field in schema.fields(cls)})


def dictionary(place: Path) -> Path:
    """Keys and words that matter, as libFuzzer reads them."""
    words = {*WORDS, *(f"{yaml}: " for yaml, _ in keys()), *(f'\\"{json}\\":' for _, json in keys())}
    path = place / "words"
    path.write_text("".join(f'"{word}"\n' for word in sorted(words)))
    return path


def mutator(atheris: Any, target: str) -> Mutate:
    """Every other change is one of a whole value or line."""
    known = [pair[target == "ignition"] for pair in keys()]
    changes = runpy.run_path(str(HERE / "mutate.py"))["Mutator"]

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        if seed % 2:
            changed: bytes = changes(seed, known).change(data, longest)
            return changed
        mutated: bytes = atheris.Mutate(data, longest)
        return mutated

    return mutate


def lay_out(target: str, folder: Path) -> None:
    """The golden cases as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in runpy.run_path(str(HERE / "targets.py"))["seeds"](target):
        if len(data) <= LONGEST:
            (folder / sha256(data).hexdigest()).write_bytes(data)


def fuzz(target: str, seconds: int, seed: int) -> None:
    """Never returns: libFuzzer ends the process, with 0 where nothing was found."""
    loaded = instrumented()
    kept, found, golden = cache(target), cache(f"found-{target}"), cache(f"golden-{target}")
    for folder in (kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    lay_out(target, golden)
    options = {
        "max_total_time": seconds,
        "seed": seed,
        "dict": dictionary(found.parent),
        "artifact_prefix": f"{found}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    libfuzzer(target, [*arguments, *map(str, (kept, CORPUS / target, golden))], *loaded)


def libfuzzer(target: str, arguments: list[str], atheris: Any, names: dict[str, Any]) -> None:
    """Hands the process over. Its first argument is how libFuzzer calls itself when it merges."""
    structured = {"custom_mutator": mutator(atheris, target)} if target in ("butane", "ignition") else {}
    limits = [f"-max_len={LONGEST}", f"-timeout={SECONDS_FOR_ONE}", f"-rss_limit_mb={MEMORY_MB}"]
    itself = f"{sys.executable} {HERE / 'run.py'} {target} {HAND_OVER}"
    atheris.Setup([itself, *limits, *arguments], names["TARGETS"][target], **structured)
    atheris.Fuzz()


def merge(target: str) -> None:
    """Takes from the cache what reaches more than the golden cases and the corpus do."""
    merged = cache(f"merged-{target}")
    shutil.rmtree(merged, ignore_errors=True)
    lay_out(target, merged)
    for path in (CORPUS / target).iterdir():
        shutil.copyfile(path, merged / path.name)
    before = set(merged.iterdir())
    by_edges = ["-merge=1", "-use_counters=0"]  # not by how often each was taken, which is ten times as much
    command = [sys.executable, str(HERE / "run.py"), target, HAND_OVER, *by_edges]
    command += [str(merged), str(cache(target))]
    subprocess.run(command, check=True)
    for path in sorted(set(merged.iterdir()) - before):
        print(shutil.copyfile(path, CORPUS / target / path.name))


def main() -> None:
    if HAND_OVER in sys.argv:
        at = sys.argv.index(HAND_OVER)
        return libfuzzer(sys.argv[at - 1], sys.argv[at + 1 :], *instrumented())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=("butane", "ignition", "dataurl", "unitfile"))
    parser.add_argument("file", nargs="?", type=Path, help="one input to run instead")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--merge", action="store_true", help="take what the cache has found into the corpus")
    wanted = parser.parse_args()
    if wanted.file:
        runpy.run_path(str(HERE / "targets.py"))["TARGETS"][wanted.target](wanted.file.read_bytes())
    elif wanted.merge:
        merge(wanted.target)
    else:
        fuzz(wanted.target, wanted.seconds, wanted.seed)
    return None


if __name__ == "__main__":
    main()
