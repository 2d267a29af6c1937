"""`flatyard butane [FILE…]`: the options and exit codes are the reference's, so that it can stand in for it."""

from __future__ import annotations

import click

from flatyard.cli import butane_run
from flatyard.cli.options import common, talk_of


@click.command("butane")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-d", "--files-dir", metavar="DIR", help="Where the paths of `local:` count from.")
@click.option("-s", "--strict", is_flag=True, help="Warnings fail too; then nothing is written.")
@click.option("-c", "--check", is_flag=True, help="Look for mistakes only; no output.")
@click.option("-p", "--pretty", is_flag=True, help="Indented JSON.")
@click.option("--raw-errors", is_flag=True, help="One line for each finding, without source lines.")
@click.option("-r", "--raw", is_flag=True, hidden=True, help="Accepted; it changes nothing for this variant.")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@click.option(
    "--out-dir", metavar="DIR", help="Write NAME.ign there for each NAME.bu; several FILEs may follow."
)
@common
def command(files: tuple[str, ...], output: str | None, out_dir: str | None, **options: object) -> int:
    """Turn Butane (variant flatcar, versions 1.0.0 and 1.1.0) into Ignition JSON.

    Reads FILE, or standard input without one or with `-`. Findings go to standard error, each with its place in
    the YAML. Several FILEs need --out-dir or --check.

    Exit code 0: done, warnings allowed; 1: any failure, or a warning with --strict; 2: a wrong command line.
    """
    wanted = butane_run.Wanted(
        files_dir=str(options["files_dir"] or ""),
        strict=bool(options["strict"]),
        check=bool(options["check"]),
        pretty=bool(options["pretty"]),
        raw_errors=bool(options["raw_errors"]),
        output=output or "",
        out_dir=out_dir or "",
    )
    try:
        jobs = butane_run.jobs(files, wanted)
    except butane_run.WrongUsage as problem:
        raise click.UsageError(str(problem)) from None
    return butane_run.run(jobs, wanted, talk_of())
