"""`flatyard sysext`: extension images, and feeds of them."""

from __future__ import annotations

import click

from flatyard.cli.options import common
from flatyard.cli.sysext_build import build_command


@click.group("sysext", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Build, inspect and hand out system extension images, Kubernetes' above all.

    Images are laid out and named as sysext-bakery does it, so that nodes can take either's.
    """


command.add_command(build_command)
