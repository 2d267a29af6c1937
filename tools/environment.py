"""Make or mend .venv/ from the locks: `python tools/environment.py CHECKOUT run|dev`.

Called by tools/environment.sh, which holds the lock, with any Python from 3.11 that has pip or can make one. Nothing
is fetched but what the locks name, each file checked by its hash: first uv with pip, then everything with uv.

FLATYARD_EXTRAS names clouds whose SDKs are wanted besides; .venv/extras has those that were asked for before.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from importlib.util import find_spec
from pathlib import Path

STAMP = "made-"
PROFILES = ("run", "dev")
EXTRAS = ("aws", "azure", "openstack")


class Failed(Exception):
    """A command failed after it had said why."""


def main(root: Path, profile: str) -> None:
    """Bring .venv/ in line with the locks; a .venv/ without a stamp was never finished and is made anew."""
    venv = root / ".venv"
    chosen = extras(venv)
    stamps = {name: venv / f"{STAMP}{name}" for name in PROFILES}
    finished = any(stamp.exists() for stamp in stamps.values())
    if stamps["dev"].exists():
        profile = "dev"  # whoever runs the tests here wants to go on doing so after a new lock
    for stamp in stamps.values():
        stamp.unlink(missing_ok=True)
    uv = venv / ".uv" / "bin" / "uv"
    uv_lock = venv / ".uv" / "lock"
    env = environment()
    if not (finished and uv_lock.is_file() and same(uv_lock, root / "locks/uv.txt")):
        make(root, venv, env)
    sync(root, venv, uv, profile, env, chosen)
    write(venv / "extras", "".join(f"{name}\n" for name in chosen).encode())
    for name in PROFILES[: PROFILES.index(profile) + 1]:
        write(stamps[name], wanted(root, name))


def extras(venv: Path) -> tuple[str, ...]:
    """The clouds whose SDKs belong into .venv/: those of before and those that are asked for now."""
    before = venv / "extras"
    asked = os.environ.get("FLATYARD_EXTRAS", "").split()
    unknown = [name for name in asked if name not in EXTRAS]
    if unknown:
        raise Failed(f"FLATYARD_EXTRAS names {unknown[0]!r}; there are {', '.join(EXTRAS)}")
    names = [*(before.read_text().split() if before.is_file() else ()), *asked]
    return tuple(name for name in EXTRAS if name in names)


def wanted(root: Path, profile: str) -> bytes:
    """The stamp: the same bytes as `wanted` in environment.sh."""
    beside = root / ".venv" / "extras"
    names = (profile, *(beside.read_text().split() if beside.is_file() else ()))
    sources = ("pyproject.toml", "locks/uv.txt", *(f"locks/{name}.txt" for name in names))
    return os.fsencode(root) + b"\n" + b"".join((root / source).read_bytes() for source in sources)


def write(path: Path, content: bytes) -> None:
    """The whole file or none of it."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def make(root: Path, venv: Path, env: Mapping[str, str]) -> None:
    """An empty .venv/ with uv in .venv/.uv, out of reach of `uv pip sync`."""
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(venv)
    home = venv / ".uv"
    home.mkdir(parents=True)
    pip = pip_command(venv)
    arguments = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location"]
    arguments += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    run([*pip, "install", *arguments, "--target", str(home), "-r", str(root / "locks/uv.txt")], root, env)
    run(
        [str(home / "bin/uv"), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(venv)],
        root,
        env,
    )
    shutil.copyfile(root / "locks/uv.txt", home / "lock")


def pip_command(venv: Path) -> list[str]:
    """This interpreter's pip, or else one that ensurepip makes in a venv of its own."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    run([sys.executable, "-m", "venv", str(venv / ".pip")], venv, os.environ)
    return [str(venv / ".pip/bin/python"), "-m", "pip"]


def sync(
    root: Path,
    venv: Path,
    uv: Path,
    profile: str,
    env: MutableMapping[str, str],
    chosen: Sequence[str] = (),
) -> None:
    """Exactly what the locks name, and this checkout itself, editable. The tests' lock has every SDK already.

    All is compiled now: where PYTHONDONTWRITEBYTECODE is set it never would be, and each start costs double.
    """
    shutil.rmtree(venv / ".pip", ignore_errors=True)
    target = ["--quiet", "--python", str(venv / "bin/python")]
    locks = [str(root / f"locks/{name}.txt") for name in (profile, *(chosen if profile == "run" else ()))]
    run(
        [str(uv), "pip", "sync", *target, "--compile-bytecode", "--require-hashes", "--no-build", *locks],
        root,
        env,
    )
    run([str(uv), "pip", "install", *target, "--no-deps", "--editable", str(root)], root, env)
    # A file that does not compile is the command's to report, not the environment's.
    compiling = [str(venv / "bin/python"), "-m", "compileall", "-q", str(root / "src/flatyard")]
    subprocess.run(compiling, stdout=sys.stderr, check=False)


def environment() -> dict[str, str]:
    """The caller's environment, with the machine's pip configuration said in uv's words."""
    env = dict(os.environ)
    for name in ("UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX", "PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT"):
        env.pop(name, None)
    env |= {"UV_PYTHON_DOWNLOADS": "never", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    env["PIP_ROOT_USER_ACTION"] = "ignore"
    for name, value in uv_words(pip_configuration()).items():
        env.setdefault(name, value)
    if not has_cache(env):
        env["UV_NO_CACHE"] = env["PIP_NO_CACHE_DIR"] = "1"
    return env


def pip_configuration() -> dict[str, str]:
    """pip's own settings by their long option names: files, then the `install` section, then PIP_ variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    if listed.returncode != 0:  # no pip here: the variables at least
        found[":env:"] = {
            k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")
        }
    return found["global"] | found["install"] | found[":env:"]


def uv_words(pip: Mapping[str, str]) -> dict[str, str]:
    """What pip's settings are called as environment variables of uv; addresses stay in memory."""
    words: dict[str, str] = {}
    if "index-url" in pip:
        words["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        words["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        words["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does; the hashes decide what is taken
    links = [link for link in pip.get("find-links", "").split() if "://" in link or Path(link).is_dir()]
    if links:
        words["UV_FIND_LINKS"] = ",".join(links)
    if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        words["UV_NO_INDEX"] = "1"
    if "trusted-host" in pip:
        words["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    renamed = {"cert": "SSL_CERT_FILE", "client-cert": "SSL_CLIENT_CERT", "timeout": "UV_HTTP_TIMEOUT"}
    words |= {variable: pip[option] for option, variable in renamed.items() if option in pip}
    if "proxy" in pip:
        words["ALL_PROXY"] = pip["proxy"]
    return words


def has_cache(env: Mapping[str, str]) -> bool:
    """Whether uv will find a folder for its cache that it can write to."""
    home = env.get("HOME", str(Path.home()))
    cache = Path(env.get("UV_CACHE_DIR") or Path(env.get("XDG_CACHE_HOME") or Path(home, ".cache"), "uv"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(cache, os.W_OK)


def run(command: Sequence[str], root: Path, env: Mapping[str, str]) -> None:
    """Run to success with stdout on stderr: the launcher's stdout belongs to the command that it starts."""
    done = subprocess.run(
        command, cwd=root, env=dict(env), stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except (Failed, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
