"""`python -m flatyard`: the same as the `flatyard` command."""

from __future__ import annotations

import sys


def run() -> int | None:
    """Hand over to the command line; imported here so that importing this module costs nothing."""
    from flatyard.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
