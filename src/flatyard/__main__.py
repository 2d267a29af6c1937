"""`python -m flatyard`: the same as the `flatyard` command."""

from __future__ import annotations

if __name__ == "__main__":
    from flatyard.cli.start import main

    main()
