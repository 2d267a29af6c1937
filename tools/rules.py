"""House rules that no linter has: `python tools/rules.py src/flatyard` prints each breach and exits 1.

Clocks, ids and randomness come from `base.World`; asyncio's loop is the only timer. So `time.*`, the clock methods of
datetime, `uuid`'s random ids, `random.*`, `secrets.*` and the kernel's randomness are refused outside
`base/world.py`. Types may be named anywhere, so that values made by a World can be annotated.

The pure folders (`decode`, `model`, `butane`, `node`, `engine/plan`) neither open files nor ask the environment;
import-linter keeps sockets and processes from them, this keeps `open`, `os` and the reading methods of paths.

A function longer than 80 lines is refused everywhere.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

WORLD = "base/world.py"
PURE = ("decode/", "model/", "butane/", "node/", "engine/plan.py", "engine/plan/")

LONGEST = 80

# A dotted name, or all names below a module where it ends in a dot.
CLOCKS_AND_CHANCE = (
    "time.",
    "random.",
    "secrets.",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "uuid.uuid1",
    "uuid.uuid4",
    "uuid.uuid6",
    "uuid.uuid7",
    "os.urandom",
    "os.getrandom",
    "os.times",
    "ssl.RAND_bytes",
)
TYPES = frozenset({"random.Random", "time.struct_time"})
INPUT_OUTPUT = ("os.", "shutil.", "tempfile.", "glob.", "io.open", "urllib.request.", "importlib.resources.")
PURE_OS = ("os.path.", "os.PathLike", "os.fspath")
PATH_METHODS = frozenset(
    "read_text read_bytes write_text write_bytes open iterdir glob rglob exists is_file is_dir is_symlink".split()
    + "stat resolve mkdir unlink rmdir touch expanduser cwd home".split()
)
PATHS = frozenset({"pathlib.Path", "pathlib.PosixPath"})


@dataclass(frozen=True, slots=True)
class Breach:
    """One place where a rule is broken."""

    line: int
    column: int
    what: str


def breaches(source: str, place: str) -> list[Breach]:
    """All breaches in one module; `place` is its path below the package, with forward slashes."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [Breach(error.lineno or 1, (error.offset or 1) - 1, error.msg)]
    names = imported(tree)
    found = list(lengths(tree))
    if place != WORLD:
        found += clocks(tree, names)
    if place.startswith(PURE):
        found += input_output(tree, names)
    return sorted(found, key=lambda breach: (breach.line, breach.column))


def imported(tree: ast.AST) -> dict[str, str]:
    """What each name bound by an import stands for: after `import os.path as p`, p is os.path."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """The full name that an expression stands for, if it starts at an import."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else None
    return None


def matches(name: str, banned: tuple[str, ...]) -> bool:
    return any(name.startswith(entry) if entry.endswith(".") else name == entry for entry in banned)


def clocks(tree: ast.AST, names: Mapping[str, str]) -> Iterator[Breach]:
    annotated = {id(part) for annotation in all_annotations(tree) for part in ast.walk(annotation)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from star_import(node)
        elif isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node, names)
            allowed = name in TYPES and id(node) in annotated
            if name and not allowed and matches(name, CLOCKS_AND_CHANCE):
                yield Breach(
                    node.lineno, node.col_offset, f"{name}: take it from base.World, or asyncio for timers"
                )


def lengths(tree: ast.AST) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST:
                yield Breach(node.lineno, node.col_offset, f"{node.name}: {lines} lines, more than {LONGEST}")


def all_annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """Every annotation in a module: of variables, parameters and results."""
    for node in ast.walk(tree):
        annotation = node.returns if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None
        if isinstance(node, ast.AnnAssign | ast.arg):
            annotation = node.annotation
        if annotation:
            yield annotation


def star_import(node: ast.ImportFrom) -> Iterator[Breach]:
    if any(alias.name == "*" for alias in node.names) and matches(f"{node.module}.", CLOCKS_AND_CHANCE):
        yield Breach(node.lineno, node.col_offset, f"everything from {node.module}: take it from base.World")


def input_output(tree: ast.AST, names: Mapping[str, str]) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node, names)
            if name and matches(name, INPUT_OUTPUT) and not matches(name, PURE_OS):
                yield Breach(node.lineno, node.col_offset, f"{name}: this folder does no I/O")
        elif isinstance(node, ast.Call):
            yield from reading(node, names)


def reading(node: ast.Call, names: Mapping[str, str]) -> Iterator[Breach]:
    """Calls that touch files: `open(…)`, and what only a concrete path can do."""
    if isinstance(node.func, ast.Name) and node.func.id in {"open", "input", "print"}:
        yield Breach(node.lineno, node.col_offset, f"{node.func.id}(): this folder does no I/O")
    elif isinstance(node.func, ast.Attribute) and node.func.attr in PATH_METHODS:
        inner = node.func.value
        maker = dotted(inner.func if isinstance(inner, ast.Call) else inner, names)
        if maker in PATHS:
            yield Breach(node.lineno, node.col_offset, f"{maker}.{node.func.attr}(): this folder does no I/O")


def main(package: Path) -> int:
    """Print every breach as file:line:column; 1 if there is any."""
    count = 0
    for path in sorted(package.rglob("*.py")):
        for breach in breaches(path.read_text(encoding="utf-8"), path.relative_to(package).as_posix()):
            print(f"{path}:{breach.line}:{breach.column + 1}: {breach.what}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
