"""Names of living clusters for completion and arguments, from a folder listing alone."""

from __future__ import annotations

import click


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Clusters whose name starts with what was typed."""
    from flatyard.cli.completion import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


name = click.argument("name", shell_complete=complete)
optional_name = click.argument("name", required=False, shell_complete=complete)
files = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True, path_type=str)
)
