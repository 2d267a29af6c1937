"""What `./test --ci` checks before the first test: `python tools/check.py [NAME …]`, all of them by default.

All checks run, at the same time, and each one that fails shows its output; exit code 1 if any failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("src", "tests", "tools", "bench")

CHECKS: Mapping[str, Sequence[str]] = {
    "lint": ("-m", "ruff", "check", "--quiet", *PLACES),
    "format": ("-m", "ruff", "format", "--check", "--quiet", *PLACES),
    "types": ("-m", "mypy"),
    "contracts": ("-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"),
    "rules": ("tools/rules.py", "src/flatyard"),
}


def start(name: str) -> subprocess.Popen[str]:
    """One check on this checkout's own src, whatever is installed."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, *CHECKS[name]],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def main(names: Sequence[str]) -> int:
    """Run the named checks; unknown names are a KeyError of whoever edits ./test."""
    running = [(name, start(name)) for name in names or CHECKS]
    failed: list[str] = []
    for name, process in running:
        output, _ = process.communicate()
        print(f"check {name}: {'ok' if process.returncode == 0 else 'FAILED'}", flush=True)
        if process.returncode != 0:
            failed.append(name)
            print(output, flush=True)
    if failed:
        print(
            f"checks failed: {', '.join(failed)}; again: .venv/bin/python tools/check.py {' '.join(failed)}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
