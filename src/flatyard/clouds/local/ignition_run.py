"""Running the real Ignition on a machine's root directory, from outside of it.

Three of its stages: `fetch-offline` and `fetch` read and merge the configs, `files` writes. `disks`, `mount` and
`kargs` never run, since the devices that they would find are this machine's own.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from flatyard.clouds.local.commands import ENVIRONMENT, attempt
from flatyard.clouds.local.folders import MachineFolder

STAGES = ("fetch-offline", "fetch", "files")
_LEVEL = re.compile(r"^(?:DEBUG|INFO|NOTICE|WARNING|ERR|CRITICAL|ALERT|EMERG) *: ")
_DUMP = "Full config:\n"
_QUIET = re.compile(r"^DEBUG *: ")


async def provision(ignition: Path, folder: MachineFolder, root: Path) -> bool:
    """Do to `root` what the folder's configs say. What Ignition says goes to its log, and as a machine's kernel log
    would show it to the console. False when it failed; the user data is kept then.
    """
    work = folder.ignition / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        for number, stage in enumerate(STAGES, start=1):
            if await _stage(_command(ignition, folder, root, stage), folder, number) != 0:
                return False
    finally:
        # the merged config is in there, secrets included
        shutil.rmtree(work)
    folder.user_data.unlink()
    return True


def _environment(folder: MachineFolder) -> dict[str, str]:
    own = {"IGNITION_SYSTEM_CONFIG_DIR": str(folder.ignition), "IGNITION_CONFIG_FILE": str(folder.user_data)}
    return {**ENVIRONMENT, **own}


def _command(ignition: Path, folder: MachineFolder, root: Path, stage: str) -> tuple[str, ...]:
    work = folder.ignition / "work"
    return (
        "setpriv",
        "--pdeathsig=KILL",
        str(ignition),
        "--platform=file",
        f"--stage={stage}",
        f"--root={root}",
        f"--config-cache={work}/config.json",
        f"--state-file={work}/state",
        f"--neednet={work}/neednet",
        "--log-to-stdout",
    )


async def _stage(command: tuple[str, ...], folder: MachineFolder, number: int) -> int:
    """Run one stage; it may take as long as what it fetches, so what it says is told at once.

    On failure Ignition also prints the whole config on stderr, secrets included; that much is not kept.
    """
    errors = folder.ignition / "work/stderr"
    with (
        (folder.ignition / "log").open("a", buffering=1) as log,
        folder.console.open("a", buffering=1) as console,
    ):

        def tell(line: str) -> None:
            log.write(f"{line}\n")
            if not _QUIET.match(line):
                console.write(f"ignition[{number}]: {_plain(line)}\n")

        done = await attempt(*command, env=_environment(folder), hear=tell, apart=errors)
        for line in errors.read_text(errors="replace").partition(_DUMP)[0].splitlines():
            tell(line)
    return done.code


def _plain(line: str) -> str:
    """Without the level, unless that is what makes it a failure."""
    return line if line.startswith("CRITICAL") else _LEVEL.sub("", line)
