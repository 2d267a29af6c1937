"""A kubectl to test with: the one on PATH, else one built from the Go module proxy into the cache.

`python tools/kubectl.py` prints its path. The build takes Go and a few minutes the first time; what it made is kept
below `$FLATYARD_CACHE` (default `~/.cache/flatyard`) by version. Kubernetes' main module replaces its staging modules
by folders, which a module proxy does not serve, so the wrapper module names their released versions instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "v1.34.3"
STAGING = re.compile(r"^\s*(?:replace )?(k8s\.io/[a-z-]+) => \./staging/", re.MULTILINE)


def main() -> int:
    """Print the path, or say why there is none."""
    found = shutil.which("kubectl") or built()
    if found is None:
        print("no kubectl on PATH, and no go to build one with", file=sys.stderr)
        return 1
    print(found)
    return 0


def built() -> str | None:
    """The kubectl in the cache, built if it is not there yet; None without Go."""
    go = shutil.which("go")
    target = cache() / f"kubectl-{VERSION}"
    if not target.exists():
        if go is None:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of one run ask at once
            if not target.exists():
                build(go, target)
    return str(target)


def cache() -> Path:
    return Path(os.environ.get("FLATYARD_CACHE") or Path.home() / ".cache/flatyard")


def build(go: str, target: Path) -> None:
    """Build kubectl in a wrapper module of its own and put it in its place whole."""
    work = target.with_name(target.name + ".build")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local"}
    asked = [go, "mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"]
    found = json.loads(subprocess.run(asked, cwd=work, env=env, check=True, capture_output=True).stdout)
    (work / "go.mod").write_text(wrapper(Path(found["GoMod"]).read_text()))
    (work / "main.go").write_text(
        'package main\n\nimport _ "k8s.io/kubernetes/cmd/kubectl"\n\nfunc main() {}\n'
    )
    command = [
        go,
        "build",
        "-trimpath",
        "-ldflags",
        flags(),
        "-o",
        "kubectl",
        "k8s.io/kubernetes/cmd/kubectl",
    ]
    subprocess.run(command, cwd=work, env=env, check=True, stdout=sys.stderr)
    (work / "kubectl").replace(target)
    shutil.rmtree(work)


def wrapper(upstream: str) -> str:
    """A go.mod that requires Kubernetes, with its staging modules at the versions of the same release."""
    staging = sorted(set(STAGING.findall(upstream)))
    released = "v0." + VERSION.removeprefix("v1.")
    replaced = "".join(f"\t{module} => {module} {released}\n" for module in staging)
    return (
        f"module flatyard.invalid/kubectl\n\ngo 1.24.0\n\ngodebug default=go1.24\n\n"
        f"require k8s.io/kubernetes {VERSION}\n\nreplace (\n{replaced})\n"
    )


def flags() -> str:
    """Linker flags that tell kubectl its own version."""
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    minor = VERSION.split(".")[1]
    values = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s", "-w", *(f"-X {p}.{k}={v}" for p in places for k, v in values.items())])


if __name__ == "__main__":
    raise SystemExit(main())
