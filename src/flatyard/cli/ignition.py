"""`flatyard ignition`: validate, merge, fit, show and apply configs by themselves; nothing of the engine is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit
from flatyard.cli.ignition_apply import apply_command
from flatyard.cli.ignition_inputs import Input, as_json, once, raw_errors, tell, valid
from flatyard.cli.options import common, output, talk_of
from flatyard.ignition import spec
from flatyard.ignition.parse import parse, up_translate

if TYPE_CHECKING:
    from flatyard.ignition.types import Config

FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
MERGED = "the merged config"
PLATFORMS = ("aws", "azure", "gcp", "openstack", "vsphere")


@click.group("ignition", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Validate, merge, fit, show and apply Ignition configs of the specs 3.0 to 3.6.

    FILE may be `-`, standard input. Findings go to standard error, each with its place in the JSON. Exit codes: 0
    fine, also with warnings; 1 errors; 2 a wrong command line, or a FILE that is not there.
    """


command.add_command(apply_command)


# ---- validate


@command.command("validate")
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@raw_errors
@output("text", "json")
@common
def validate_command(files: tuple[str, ...], raw_errors: bool, output: str) -> int:
    """Say what is wrong with each FILE.

    The words and the order are those of ignition-validate 2.26. With `-o json` the findings are a list on standard
    output.
    """
    inputs = [Input(name) for name in once(files)]
    if output == "json":
        talk_of().data(json.dumps([found for given in inputs for found in as_json(given)], indent=2))
    else:
        tell(inputs, raw_errors)
    return _code(all(given.is_valid for given in inputs))


# ---- merge


@command.command("merge")
@click.argument("parent", type=FILE)
@click.argument("children", metavar="CHILD...", type=FILE, nargs=-1, required=True)
@click.option("-p", "--pretty", is_flag=True, help="Indented JSON.")
@raw_errors
@common
def merge_command(parent: str, children: tuple[str, ...], pretty: bool, raw_errors: bool) -> int:
    """Print PARENT with each CHILD laid over it.

    Only the result is validated: a child may leave out what its parent has. Configs of older specs are
    translated to the newest that is given. References (ignition.config) are merged, not fetched.
    """
    from flatyard.ignition.encode import encode, encode_pretty
    from flatyard.ignition.merge import merge_all

    inputs = [Input(name, parse) for name in once((parent, *children))]
    tell(inputs, raw_errors)
    configs = [given.config for given in inputs if given.config is not None]
    if len(configs) < len(inputs):
        return Exit.FAILED
    merged = merge_all(_of_one_version(configs))
    text = encode_pretty(merged) if pretty else encode(merged)
    click.echo(text)
    result = Input(MERGED, data=text)
    tell([result], raw_errors)
    return _code(result.is_valid)


def _of_one_version(configs: Iterable[Config]) -> list[Config]:
    configs = list(configs)
    newest = max((config.ignition.version for config in configs), key=spec.minor)
    return [up_translate(config, newest) for config in configs]


# ---- fit


@command.command("fit")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Take the limit of this platform.")
@click.option(
    "--limit",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="What the platform takes as user data, before any base64 of its own.",
)
@click.option("--gzip", "gzip_allowed", is_flag=True, help="The platform takes gzip (vSphere, Akamai).")
@click.option(
    "--stub", "url", metavar="URL", help="Make user data that fetches the config from there instead."
)
@click.option("--payload", metavar="PATH", type=click.Path(dir_okay=False), help="Write what URL must serve.")
@click.option("--write", metavar="PATH", type=click.Path(dir_okay=False), help="Write the user data.")
@raw_errors
@output("text", "json")
@click.argument("file", type=FILE)
@common
def fit_command(file: str, raw_errors: bool, output: str, **options: object) -> int:
    """Say whether FILE fits into user data; make what fits.

    What counts is the config without the blanks between its tokens. Where it does not fit, the ten entries that
    take most of it are listed, and the exit code is 1. Such a config can be served from elsewhere: --stub prints
    user data that is replaced by what URL serves, with its SHA-512.
    """
    from flatyard.cli import ignition_fit

    wanted = ignition_fit.wanted(options)
    config = valid(file, raw_errors)
    if config is None:
        return Exit.FAILED
    return ignition_fit.run(config, wanted, file, as_json=output == "json")


# ---- show


@command.command("show")
@click.argument("file", type=FILE)
@raw_errors
@output("text", "json")
@common
def show_command(file: str, raw_errors: bool, output: str) -> int:
    """Print what FILE does to a machine.

    Disks, filesystems, accounts, files, links and units as a tree. Contents and keys are not printed. With `-o
    json` it is a list of lines, each with its section and the lines below it.
    """
    from flatyard.ignition.show import listed, show

    config = valid(file, raw_errors)
    if config is None:
        return Exit.FAILED
    talk = talk_of()
    if output == "json":
        talk.data(json.dumps(listed(config), indent=2, ensure_ascii=False))
    else:
        for line in show(config):
            talk.data(line)
    return Exit.DONE


def _code(is_valid: bool) -> int:
    return Exit.DONE if is_valid else Exit.FAILED
