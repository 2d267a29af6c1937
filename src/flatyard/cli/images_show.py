"""`flatyard images show`: what a cluster's machines boot and what is newer there, or what a release has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit, Failed, FlatyardError
from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.engine.record import ClusterRecord
    from flatyard.flatcar import Contents
    from flatyard.model.cluster import Cluster

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_WIDTH = 12


@click.command("show", short_help="What a cluster is pinned to, or what a release ships.")
@click.argument("what", metavar="NAME|VERSION", shell_complete=names.complete)
@output("text", "json")
@common
def show_command(what: str, output: str) -> int:
    """Say what the machines of cluster NAME boot, or what Flatcar VERSION ships.

    A cluster's release and images are looked up once and recorded: every later machine gets the same. What is
    newer there is news, not a change.
    """
    if _VERSION.fullmatch(what):
        return _show_release(what, output)
    return _show_cluster(what, output)


# ---- a release


def contents_json(known: Contents) -> dict[str, object]:
    """What a release ships, for JSON."""
    return {
        "released": known.released,
        "ignition": known.ignition,
        "spec": known.spec,
        "systemd": known.systemd,
        "kernel": known.kernel,
        "containerd": known.containerd,
        "docker": known.docker,
    }


def _show_release(version: str, output: str) -> int:
    from flatyard.flatcar import OLDEST_SUPPORTED, channel_of, is_supported, known_releases, release

    known = release(version)
    if known is None:
        newest = known_releases()[-1]
        raise Failed(
            f"Flatcar {version} is not in this flatyard's release data",
            why=f"the data ends with {newest.version} of {newest.released}",
            next="flatyard images list --cloud … tells whether a region has it",
        )
    if output == "json":
        found = {
            "version": version,
            "channel": channel_of(version),
            "usable": is_supported(version),
            **contents_json(known),
        }
        talk_of().data(json.dumps(found, indent=2))
        return Exit.DONE
    lines = {
        "release": f"Flatcar {version}, channel {known.channel}, {known.released}",
        "ignition": f"{known.ignition}, reads specifications up to {known.spec}",
        "systemd": str(known.systemd),
        "kernel": known.kernel,
        "containerd": known.containerd,
        "docker": known.docker,
        "nodes": "yes" if is_supported(version) else f"no: too old, they need {OLDEST_SUPPORTED} or later",
    }
    talk_of().data("\n".join(f"{name:{_WIDTH}}{text}" for name, text in lines.items() if text))
    return Exit.DONE


# ---- a cluster


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a cluster's record says of images. `newer`: what the region has beyond it; empty: nothing."""

    name: str
    place: str
    simulated: bool
    channel: str
    record: ClusterRecord
    newer: str = ""
    unknown: str = ""
    """Why nobody can say what is newer there."""


def _show_cluster(name: str, output: str) -> int:
    import asyncio

    from flatyard.cli.images_lookup import place

    record = asyncio.run(_record(name))
    cluster = _cluster(record)
    flatcar = cluster.spec.flatcar
    newer, unknown = _newer(cluster, record.images.flatcar)
    simulated = cluster.spec.cloud.simulated
    found = Pinned(name, place(cluster), simulated, flatcar.channel, record, newer, unknown)
    if output == "json":
        talk_of().data(json.dumps(_pinned_json(found), indent=2))
    else:
        _say(found)
    return Exit.DONE


async def _record(name: str) -> ClusterRecord:
    from flatyard.cli import clusters
    from flatyard.engine import record as records

    await clusters.known(name)
    found = await records.load(clusters.store(), name)
    if found is None:
        raise Failed(f"there is no cluster {name!r} any more")
    return found


def _cluster(record: ClusterRecord) -> Cluster:
    """The Cluster as it was last applied."""
    from flatyard.decode import from_json
    from flatyard.engine.apply import applied_objects
    from flatyard.model.cluster import Cluster

    return from_json(Cluster, applied_objects(record)[f"Cluster/{record.name}"])


def _newer(cluster: Cluster, pinned: str) -> tuple[str, str]:
    """The newest release of the pinned one's channel that the region has, if it is newer; or why nobody knows."""
    from flatyard.cli.images_lookup import ARCHES, ask
    from flatyard.clouds.cloud import ImageQuery
    from flatyard.flatcar import channel_of, newest_first, version_key

    if not pinned:
        return "", ""
    try:
        channel = channel_of(pinned)
        answers = ask(cluster, [ImageQuery(channel=channel, version=None, arch=arch) for arch in ARCHES])
        there = newest_first(image.version for images in answers for image in images)
    except FlatyardError as error:
        return "", error.what
    newer = there[0] if there and version_key(there[0]) > version_key(pinned) else ""
    return newer, ""


def _say(found: Pinned) -> None:
    from flatyard.flatcar import release

    images = found.record.images
    simulated = " (simulated)" if found.simulated else ""
    lines = [
        ("cluster", f"{found.name} on {found.place}{simulated if 'simulated' not in found.place else ''}")
    ]
    known = release(images.flatcar) if images.flatcar else None
    about = f" of {known.released}; Ignition {known.ignition}, kernel {known.kernel}" if known else ""
    pinned = f"{images.flatcar}{about}" if images.flatcar else "not looked up yet"
    lines.append(("flatcar", pinned))
    references = dict.fromkeys((chosen.arch, chosen.reference) for chosen in images.by_spec.values())
    lines += [("image", f"{reference}  {arch}") for arch, reference in references]
    lines += [("kubernetes", f"{key}  sha256 {pin.sha256}") for key, pin in images.pins.items()]
    if found.newer:
        news = release(found.newer)
        came = f" of {news.released}" if news else ""
        lines.append(
            (
                "newer",
                f"{found.newer}{came} is there: news, not a change; machines go on with {images.flatcar}",
            )
        )
    elif found.unknown:
        lines.append(("newer", f"unknown: {found.unknown}"))
    elif images.flatcar:
        lines.append(("newer", "nothing; this is the newest there"))
    talk_of().data("\n".join(f"{name:{_WIDTH}}{text}" for name, text in lines))


def _pinned_json(found: Pinned) -> dict[str, object]:
    from flatyard.flatcar import release

    images = found.record.images
    known = release(images.flatcar) if images.flatcar else None
    chosen = dict.fromkeys((c.reference, c.arch) for c in images.by_spec.values())
    return {
        "cluster": found.name,
        "place": found.place,
        "simulated": found.simulated,
        "flatcar": images.flatcar,
        "channel": found.channel,
        "images": [{"reference": reference, "arch": arch} for reference, arch in chosen],
        "kubernetes": {key: pin.sha256 for key, pin in images.pins.items()},
        **(contents_json(known) if known else {}),
        "newer": found.newer or None,
        "newerUnknown": found.unknown or None,
    }
