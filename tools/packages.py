"""Debian packages for the tests: `python tools/packages.py TIER…` installs what packages.txt names and is missing.

As another user than root it prints the one command to run, and exits 1; so it does where there is no apt-get.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIST = Path(__file__).with_name("packages.txt")


def main(tiers: Sequence[str]) -> int:
    """Install what is missing for these tiers; 0 if everything is there in the end."""
    if not missing(tiers):
        return 0
    with LIST.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several processes of one run ask at once
        return install(missing(tiers))


def install(absent: Sequence[str]) -> int:
    """By apt-get, or the command that does it."""
    if not absent:
        return 0
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *absent]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"missing Debian packages; as root: {' '.join(command)}", file=sys.stderr)
        return 1
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], env=env, stdout=sys.stderr, check=False)
    return subprocess.run(command, env=env, stdout=sys.stderr, check=False).returncode


def missing(tiers: Sequence[str]) -> list[str]:
    """The packages of these tiers that dpkg does not have installed."""
    rows = (line.split(None, 2) for line in LIST.read_text().splitlines())
    wanted = [row[0] for row in rows if row and not row[0].startswith("#") and row[1] in tiers]
    return [name for name in wanted if not installed(name)]


def installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "installed"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
