"""`flatyard schema [KIND]`."""

from __future__ import annotations

import json

import click

from flatyard.cli.options import common, talk_of


@click.command("schema")
@click.argument("kind", required=False)
@common
def command(kind: str | None) -> None:
    """Print the JSON Schema of KIND (Cluster, MachineDeployment, MachineSet, Machine) for editors.

    Without KIND: one schema that accepts each of them. For the YAML language server, put this at the top of a
    file: `# yaml-language-server: $schema=./flatyard.schema.json`.
    """
    from flatyard.base.errors import Refused
    from flatyard.decode.context import nearest
    from flatyard.model.schema import schemas

    known = schemas()
    if kind is None:
        found: object = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "oneOf": list(known.values()),
        }
    elif kind in known:
        found = known[kind]
    else:
        near = nearest(kind, known)
        raise Refused(
            f"there is no schema of {kind!r}",
            why=f"known: {', '.join(known)}",
            next=f"flatyard schema {near}" if near else "",
        )
    talk_of().data(json.dumps(found, indent=2))
