"""`flatyard completion SHELL`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from flatyard.cli.options import common, talk_of

VARIABLE = "_FLATYARD_COMPLETE"


def known_names() -> tuple[str, ...]:
    """Clusters with a run file. The state directory is found as store.location does, without what that imports."""
    chosen = os.environ.get("FLATYARD_STATE", "")
    base = os.environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
    state = Path(chosen).expanduser() if chosen and "://" not in chosen else Path(base) / "flatyard"
    folder = state / "run"
    return tuple(sorted(path.stem for path in folder.glob("*.json"))) if folder.is_dir() else ()


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def command(shell: str) -> None:
    """Print the completion script of a shell; names of clusters are completed too.

    \b
    bash   flatyard completion bash > ~/.local/share/bash-completion/completions/flatyard
    zsh    flatyard completion zsh > "${fpath[1]}/_flatyard"
    fish   flatyard completion fish > ~/.config/fish/completions/flatyard.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    talk_of().data(kind(root, {}, "flatyard", VARIABLE).source())
