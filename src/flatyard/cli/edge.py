"""The program's edge: whatever ends a command becomes a sentence and an exit code, here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable

from flatyard.base.errors import Exit, FlatyardError
from flatyard.cli.talk import Talk


def at_the_edge(run: Callable[[], object], talk: Talk) -> int:
    """Run a command; its exit code. No exception leaves but, with --debug, one that is nobody's."""
    try:
        code = run()
    except KeyboardInterrupt:
        talk.error("interrupted")
        code = Exit.INTERRUPTED
    except FlatyardError as error:
        talk.failure(error)
        code = error.exit
    except BrokenPipeError:
        sys.stderr.close()
        code = Exit.FAILED
    except Exception as error:
        if talk.debug:
            raise
        talk.error(
            f"flatyard met an error that it does not know: {type(error).__name__}: {error}",
            next="the same command with --debug shows where; please report it",
        )
        code = Exit.FAILED
    return int(code) if isinstance(code, int) else Exit.DONE
