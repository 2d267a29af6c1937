"""./flatyard: goes straight to a finished .venv/, makes it once otherwise, and says in a sentence what is missing.

Here a stand-in for Python makes a stand-in for .venv/, so that nothing is fetched; test_first_run.py has the
real thing.
"""

from __future__ import annotations

import os
import runpy
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = runpy.run_path(str(ROOT / "tools/environment.py"))
TOOLS = (
    "sh",
    "cat",
    "readlink",
    "id",
    "mkdir",
    "mv",
    "rm",
    "sleep",
    "flock",
    "env",
    "dirname",
    "touch",
    "ln",
    "chmod",
)

COMMAND = """#!/bin/sh
printf 'HOME=%s' "${HOME:-}"
for argument do printf ' <%s>' "$argument"; done
echo
"""

# Says that it is new enough, and makes what the real one would make; `before` runs first.
PYTHON = """#!/bin/sh
case $1 in -c) exit 0 ;; esac
root=$2
{before}
echo made >>"$root/makings"
rm -rf "$root/.venv"
mkdir -p "$root/.venv/bin"
ln -s "$0" "$root/.venv/bin/python"
cp "$root/command" "$root/.venv/bin/flatyard"
cd "$root"
{{ printf '%s\\n' "$root"; cat pyproject.toml locks/uv.txt locks/run.txt; }} >.venv/made-run
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A checkout, and the only folder on PATH."""

    root: Path
    path: Path

    def tool(self, name: str, script: str) -> None:
        """Put a program on PATH."""
        tool = self.path / name
        tool.unlink(missing_ok=True)
        tool.write_text(script)
        tool.chmod(0o755)

    def python(self, before: str = "") -> None:
        self.tool("python3", PYTHON.format(before=before))

    def start(
        self, *arguments: str, command: Path | str | None = None, cwd: Path | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start the launcher with an environment of PATH, HOME and what is given."""
        return subprocess.Popen(
            [command or self.root / "flatyard", *arguments],
            cwd=cwd or self.root,
            env={"PATH": str(self.path), "HOME": "/home/somebody"} | env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, *arguments: str, command: Path | str | None = None, cwd: Path | None = None, **env: str
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the launcher."""
        process = self.start(*arguments, command=command, cwd=cwd, **env)
        out, err = process.communicate()
        return process.returncode, out, err

    def makings(self) -> int:
        """How often .venv/ was made."""
        path = self.root / "makings"
        return len(path.read_text().splitlines()) if path.exists() else 0


def new_machine(folder: Path) -> Machine:
    root, path = folder / "a checkout", folder / "bin"
    for source in (
        "flatyard",
        "pyproject.toml",
        "locks/uv.txt",
        "locks/run.txt",
        "tools/environment.sh",
        "tools/environment.py",
    ):
        (root / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / source, root / source)
    (root / "command").write_text(COMMAND)
    (root / "command").chmod(0o755)
    path.mkdir()
    for name in (*TOOLS, "cp"):
        found = shutil.which(name)
        if found:
            (path / name).symlink_to(found)
    return Machine(root, path)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return new_machine(tmp_path)


@pytest.fixture
def made(machine: Machine) -> Machine:
    """A machine whose checkout is ready, and from which Python has vanished since."""
    machine.python()
    assert machine.run()[0] == 0
    (machine.path / "python3").rename(machine.path / "python-moved")
    python = machine.root / ".venv/bin/python"
    python.unlink()
    python.symlink_to(machine.path / "python-moved")
    return machine


def sentence(machine: Machine, **env: str) -> str:
    """What the launcher says when it cannot start: exit code 1, nothing on stdout, one line on stderr."""
    code, out, err = machine.run(**env)
    assert (code, out, err.count("\n")) == (1, "", 1), err
    return err.strip()


def test_no_python(machine):
    assert sentence(machine) == (
        "flatyard: needs Python 3.11 or newer and finds none on PATH; "
        "install it (for example: apt install python3 python3-venv) and run this again"
    )


def test_nothing_on_path_at_all(machine):
    _, _, err = machine.run(PATH="/nonexistent")
    assert err.splitlines()[-1].startswith("flatyard: needs Python 3.11 or newer")


def test_a_python_that_is_too_old_is_passed_over(machine):
    machine.tool("python3", "#!/bin/sh\nexit 1\n")
    assert "needs Python 3.11 or newer" in sentence(machine)
    machine.python()
    (machine.path / "python3").rename(machine.path / "python3.12")
    assert machine.run()[0] == 0


def test_neither_pip_nor_venv(machine):
    machine.tool("python3", "#!/bin/sh\ncase $2 in *version_info*) exit 0 ;; esac\nexit 1\n")
    assert sentence(machine) == (
        "flatyard: python3 has neither pip nor venv; install one of them "
        "(for example: apt install python3-venv) and run this again"
    )


def test_a_failed_making_says_that_nothing_is_kept(machine):
    machine.python(before="echo 'no network' >&2; exit 1")
    code, out, err = machine.run()
    assert (code, out) == (1, "")
    assert "no network" in err
    assert err.splitlines()[-1].startswith("flatyard: could not make .venv/, for the reason above;")


def test_a_finished_checkout_starts_without_python_on_path_or_a_word(made):
    assert made.run("up", "a b", "", "*") == (0, "HOME=/home/somebody <up> <a b> <> <*>\n", "")


def test_from_anywhere_and_through_links(made, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "absolute").symlink_to(made.root / "flatyard")
    (elsewhere / "relative").symlink_to("../a checkout/flatyard")
    (elsewhere / "twice").symlink_to("relative")
    for name in ("absolute", "relative", "twice"):
        assert made.run("x", command=elsewhere / name, cwd=elsewhere)[:2] == (0, "HOME=/home/somebody <x>\n")
    assert made.run("x", command="./flatyard")[0] == 0


def test_without_any_other_environment(made):
    assert made.run("x", HOME="")[:2] == (0, "HOME= <x>\n")


@pytest.mark.parametrize("changed", ["pyproject.toml", "locks/run.txt", "locks/uv.txt"])
def test_a_changed_lock_is_noticed(made, changed):
    with (made.root / changed).open("a") as file:
        file.write("# changed\n")
    made.python()
    assert made.run()[0] == 0
    assert made.makings() == 2


def test_sdks_that_were_asked_for_stay_and_others_are_brought_in(made):
    (made.root / ".venv/extras").write_text("aws\n")
    shutil.copy2(ROOT / "locks/aws.txt", made.root / "locks/aws.txt")
    assert made.run()[0] == 1, "an SDK's lock is part of what .venv/ was made from"
    with (made.root / ".venv/made-run").open("ab") as stamp:
        stamp.write((ROOT / "locks/aws.txt").read_bytes())
    assert made.run()[0] == made.run(FLATYARD_EXTRAS="aws")[0] == 0
    code, _, err = made.run(FLATYARD_EXTRAS="aws azure")
    assert (code, "finds none on PATH" in err) == (1, True)


def test_extras_are_those_of_before_and_those_that_are_asked_for(monkeypatch, tmp_path):
    (tmp_path / "extras").write_text("openstack\n")
    monkeypatch.setenv("FLATYARD_EXTRAS", "aws")
    assert ENVIRONMENT["extras"](tmp_path) == ("aws", "openstack")
    monkeypatch.setenv("FLATYARD_EXTRAS", "gcloud")
    with pytest.raises(ENVIRONMENT["Failed"], match="'gcloud'; there are aws, azure, openstack"):
        ENVIRONMENT["extras"](tmp_path)


def test_a_moved_checkout_is_made_again(made, tmp_path):
    moved = Machine(made.root.rename(tmp_path / "moved"), made.path)
    moved.python()
    assert moved.run()[0] == 0
    assert moved.makings() == 2


def test_a_python_that_went_away_is_noticed(made):
    (made.path / "python-moved").unlink()
    made.python()
    assert made.run()[0] == 0
    assert made.makings() == 2


def test_an_interrupted_making_is_begun_again(machine):
    machine.python(
        before='mkdir -p "$root/.venv/bin"; cp "$root/command" "$root/.venv/bin/flatyard"; kill -9 $$'
    )
    assert machine.run()[0] == 1
    machine.python()
    assert machine.run()[:2] == (0, "HOME=/home/somebody\n")


def started_making(machine: Machine, fifo: Path) -> subprocess.Popen[str]:
    """A launcher in the middle of making .venv/, which it ends when `fifo` is opened for writing."""
    os.mkfifo(fifo)
    machine.python(before=f'echo in the middle >&2; read -r go <"{fifo}"')
    first = machine.start("first")
    assert first.stderr is not None
    while first.stderr.readline() != "in the middle\n":
        assert first.poll() is None
    return first


@pytest.mark.parametrize("missing", ["", "flock"], ids=["flock", "mkdir"])
def test_a_second_process_waits_for_the_first(machine, tmp_path, missing):
    if missing:
        (machine.path / missing).unlink()
    first = started_making(machine, tmp_path / "fifo")
    second = machine.start("second")
    assert second.stderr is not None
    assert second.stderr.readline() == "flatyard: waiting for another process that is making .venv/\n"
    (tmp_path / "fifo").write_text("go\n")
    assert first.communicate()[0] == "HOME=/home/somebody <first>\n"
    assert second.communicate()[0] == "HOME=/home/somebody <second>\n"
    assert machine.makings() == 1
    assert not (machine.root / ".venv.lock.d").exists()


def test_a_lock_whose_holder_died_is_taken_over(machine):
    (machine.path / "flock").unlink()
    lock = machine.root / ".venv.lock.d"
    lock.mkdir()
    gone = subprocess.Popen(["true"])
    gone.wait()
    (lock / "holder").write_text(f"{gone.pid}\n")
    machine.python()
    assert machine.run()[:2] == (0, "HOME=/home/somebody\n")
    assert not lock.exists()


def test_under_sudo_everything_is_done_as_the_caller(machine):
    # Stand-ins: `id` says that this is root, `setpriv` notes what it was asked and goes on as before.
    machine.tool("id", '#!/bin/sh\ncase "$*" in -u) echo 0 ;; *) echo root ;; esac\n')
    log = machine.root / "as"
    machine.tool(
        "setpriv",
        f'#!/bin/sh\necho "$*" >>"{log}"\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n',
    )
    machine.tool("test", '#!/bin/sh\n[ "$@" ]\n')
    machine.python()
    code, out, _ = machine.run("up", SUDO_UID="1234", SUDO_GID="1235")
    assert (code, out) == (0, f"HOME={Path('~root').expanduser()} <up>\n")
    asked = log.read_text().splitlines()
    assert all(line.startswith("--reuid 1234 --regid 1235 --init-groups -- ") for line in asked)
    assert any("make_environment" in line for line in asked)
    assert asked[-1].endswith("/.venv/bin/flatyard up")


LOCAL = "spec:\n  cloud:\n    local: {}\n"


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (("up", "--yes", "FILE"), True),
        (("up", "OTHER"), False),
        (("plan", "FILE"), False),
        (("butane", "FILE"), False),
        (("down", "mine"), True),
        (("status", "-o", "json", "mine"), True),
        (("down", "simulated"), False),
        (("status",), False),
    ],
)
def test_root_stays_root_for_machines_of_this_machine(machine, line, stays):
    machine.tool("id", '#!/bin/sh\ncase "$*" in -u) echo 0 ;; *) echo root ;; esac\n')
    machine.tool("setpriv", '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nAS=caller exec "$@"\n')
    machine.tool("test", '#!/bin/sh\n[ "$@" ]\n')
    machine.python()
    (machine.root / "local.yaml").write_text(LOCAL)
    (machine.root / "other.yaml").write_text("spec:\n  # local: no\n  cloud: {sim: {as: aws}}\n")
    state = machine.root / "state"
    (state / "run").mkdir(parents=True)
    (state / "run/mine.json").write_text('{\n "twin": "local"\n}')
    (state / "run/simulated.json").write_text('{\n "twin": "aws"\n}')
    names = {"FILE": str(machine.root / "local.yaml"), "OTHER": str(machine.root / "other.yaml")}
    words = [names.get(word, word) for word in line]
    code, out, _ = machine.run(*words, SUDO_UID="1234", SUDO_GID="1235", FLATYARD_STATE=str(state))
    home = "/home/somebody" if stays else str(Path("~root").expanduser())
    assert (code, out.split()[0]) == (0, f"HOME={home}")


def test_roots_own_checkout_stays_roots(machine):
    machine.tool("id", '#!/bin/sh\ncase "$*" in -u) echo 0 ;; *) echo root ;; esac\n')
    machine.tool("setpriv", "#!/bin/sh\nexit 1\n")
    machine.python()
    assert machine.run("up", SUDO_UID="1234", SUDO_GID="1235")[:2] == (0, "HOME=/home/somebody <up>\n")


def nobody() -> Sequence[str]:
    """The command prefix that takes root's rights away, for whoever has them."""
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--") if os.geteuid() == 0 else ()


def test_an_unwritable_checkout(open_folder):
    machine = new_machine(open_folder)
    machine.python()
    machine.root.chmod(0o555)
    done = subprocess.run(
        [*nobody(), machine.root / "flatyard"],
        env={"PATH": f"{machine.path}{os.pathsep}{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
    )
    machine.root.chmod(0o755)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(
        f"flatyard: cannot write to {machine.root}, where .venv/ has to be made; make it writable"
    )


def test_pips_settings_are_said_in_uvs_words(tmp_path):
    assert ENVIRONMENT["uv_words"](
        {
            "index-url": "https://one.example/simple",
            "extra-index-url": "https://two.example/simple\nhttps://three.example/simple",
            "find-links": f"{tmp_path} /nonexistent",
            "no-index": "true",
            "cert": "/etc/ca.pem",
            "timeout": "60",
        }
    ) == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_NO_INDEX": "1",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_HTTP_TIMEOUT": "60",
    }


def test_pips_own_settings_reach_uv(monkeypatch, tmp_path):
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://files.example/simple\ntimeout = 7\n[install]\ntimeout = 8\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_HTTP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    env = ENVIRONMENT["environment"]()
    assert (env["UV_HTTP_TIMEOUT"], env["UV_PYTHON_DOWNLOADS"]) == ("9", "never")


def test_the_launchers_can_be_started():
    for name in ("flatyard", "test", ".ci/run"):
        assert (ROOT / name).stat().st_mode & stat.S_IXUSR, name
