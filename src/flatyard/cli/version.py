"""`flatyard version`."""

from __future__ import annotations

import json
import sys

import click

from flatyard import __version__
from flatyard.cli.options import common, output, talk_of


@click.command("version")
@output("text", "json")
@common
def command(output: str) -> None:
    """Print the version of flatyard, the default Kubernetes version and Python's."""
    from flatyard.model.versions import DEFAULT_KUBERNETES

    python = ".".join(map(str, sys.version_info[:3]))
    if output == "json":
        facts = {"flatyard": __version__, "kubernetes": DEFAULT_KUBERNETES, "python": python}
        talk_of().data(json.dumps(facts, indent=2))
    else:
        talk_of().data(
            f"flatyard {__version__} (Kubernetes {DEFAULT_KUBERNETES} by default, Python {python})"
        )
