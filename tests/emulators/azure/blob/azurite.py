"""Azurite, Microsoft's emulator of Blob storage, pinned by package-lock.json; installed once, then everybody's.

A newer one: change package.json, `npm install --package-lock-only --omit-lockfile-registry-resolved` in this folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from emulators.stage import Stage

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent.parent
PORT = 10100


def start_azurite(stage: Stage) -> None:
    """Serve blobs on https://127.0.0.1:10100/ACCOUNT with the stage's certificate; accounts.json has the accounts."""
    accounts = stage.folder / "accounts.json"
    if not accounts.exists():
        accounts.write_text("{}")
    words = (
        f"--inMemoryPersistence --silent --disableTelemetry --skipApiVersionCheck --blobHost 127.0.0.1 "
        f"--blobPort {PORT} --cert {stage.folder}/cert.pem --key {stage.folder}/key.pem"
    )
    program = installed()
    stage.start(
        "blobs",
        ["sh", "-c", f'cd "$0" && exec node "$1" {words}', str(program), str(HERE / "launch.js")],
        port=PORT,
        environment={"ACCOUNTS_FILE": str(accounts)},
    )


def installed() -> Path:
    """The folder with its node_modules."""
    lock = HERE / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("FLATYARD_CACHE") or Path.home() / ".cache/flatyard") / "emulators"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"azurite-{digest}"
    with (cache / "azurite.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (made / "done").exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            install(made)
            (made / "done").touch()
    return made


def install(folder: Path) -> None:
    if not shutil.which("npm"):  # Debian's, where there is none
        command = [sys.executable, str(ROOT / "tools/packages.py"), "node"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    words = "npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund"
    done = subprocess.run(words.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
