"""`flatyard images`: which Flatcar images there are, what is in them, and how one gets to where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flatyard.base.errors import Exit
from flatyard.cli.images_show import contents_json, show_command
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.cli.images_lookup import Account, Row
    from flatyard.flatcar import Contents
    from flatyard.model.cluster import CloudChoice

F = TypeVar("F", bound=Callable[..., Any])
CLOUDS = ("azure", "aws", "gcp", "openstack", "vsphere", "local", "sim")
TWINS = CLOUDS[:5]
CHANNELS = ("stable", "beta", "alpha", "lts")
SHOWN = 5
_NONE = "-"


class CloudName(click.Choice[str]):
    """A cloud; one that flatyard does not run on is refused with the reason."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        from flatyard.model.unsupported import why_not

        reason = why_not(str(value))
        if reason:
            self.fail(f"{reason}.", param, ctx)
        return super().convert(value, param, ctx)


def _account(command: F) -> F:
    """The options that say whose images are meant; the command gets one Account."""
    from functools import wraps

    @wraps(command)
    def with_account(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - click's
        from flatyard.cli.images_lookup import Account

        taken = ("cloud", "as_", "region", "os_cloud", "profile")
        account = Account(**{name: options.pop(name) or "" for name in taken})
        return command(*args, account=account, **options)

    made: Any = with_account
    for option in (
        click.option("--profile", metavar="NAME", help="aws: profile of the shared configuration."),
        click.option("--os-cloud", metavar="NAME", help="openstack: entry of clouds.yaml."),
        click.option("--region", metavar="NAME", help="Region or location."),
        click.option("--as", "as_", type=click.Choice(TWINS), help="sim: whose twin."),
        click.option("--cloud", required=True, type=CloudName(CLOUDS), help="Where to look."),
    ):
        made = option(made)
    result: F = made
    return result


@click.group("images", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Flatcar's images: what a region really has, what is in a release, and uploads where a cloud has none."""


command.add_command(show_command)


# ---- list


@command.command("list", short_help="What a region really has, and what it ships.")
@_account
@click.option(
    "--channel",
    type=click.Choice((*CHANNELS, "all")),
    default="stable",
    show_default=True,
    help="Flatcar's channel.",
)
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), help="Default: both.")
@click.option(
    "--kubernetes",
    default="",
    metavar="VERSION",
    help="Those with it baked in, for clusters of flavor image.",
)
@click.option("--all", "everything", is_flag=True, help="Old ones too, and those that nodes cannot use.")
@output("table", "json")
@common
def list_command(
    account: Account, channel: str, arch: str | None, kubernetes: str, everything: bool, output: str
) -> int:
    """List the Flatcar images that a region really has, with what they ship.

    The newest of each channel, architecture and generation has a star: it is what a new cluster gets. SPEC is
    the newest Ignition specification that the image reads. The credentials are those that the cloud's own CLI
    would use.

    \b
    flatyard images list --cloud aws --region eu-central-1
    flatyard images list --cloud sim --as azure --channel beta -o json
    flatyard images list --cloud azure --region westeurope --kubernetes v1.34.3
    """
    from flatyard.cli import images_lookup
    from flatyard.clouds.cloud import CloudError

    cluster = images_lookup.cluster_of(account)
    doubt = images_lookup.doubtful_region(cluster)
    if doubt:
        talk_of().say(doubt)
    channels = CHANNELS if channel == "all" else (channel,)
    arches = (arch,) if arch else images_lookup.ARCHES
    baked = _kubernetes(kubernetes)
    try:
        rows = images_lookup.listing(cluster, channels, arches, baked)
    except CloudError as no:
        if doubt:
            no.next = f"flatyard images list --cloud {account.cloud} --region {images_lookup.near(cluster)}"
        raise
    where = images_lookup.place(cluster)
    late = () if baked else images_lookup.not_there_yet(rows, channels)
    talk = talk_of()
    if output == "json":
        talk.data(json.dumps(_listing(cluster.spec.cloud, rows, late), indent=2))
        return Exit.DONE
    shown = rows if everything else _worth_showing(rows)
    if shown:
        talk.data(_table(shown))
    else:
        with_it = f" with Kubernetes {baked} baked in" if baked else ""
        talk.say(f"{where} has no Flatcar image of {_of(channels, arches)}{with_it}")
    _more(rows, shown, late, where)
    if account.cloud == "openstack" and not baked and (late or not rows):
        named = f" --os-cloud {account.os_cloud}" if account.os_cloud else ""
        what = f" --channel {channel}" if channel != "all" else ""
        talk.next((f"flatyard images import --cloud openstack{named}{what}", "brings the current one there"))
    return Exit.DONE


def _kubernetes(version: str) -> str | None:
    """A release of Kubernetes as images are named after it; None for none."""
    from flatyard.model.versions import Version

    try:
        return str(Version.parse(version)) if version else None
    except ValueError:
        raise click.UsageError(f"--kubernetes {version} is not a version like v1.34.3") from None


def _of(channels: Sequence[str], arches: Sequence[str]) -> str:
    return f"{' or '.join(channels)}, {' or '.join(arches)}"


def _worth_showing(rows: Sequence[Row]) -> list[Row]:
    """The newest few of each kind that nodes can be made of."""
    from flatyard.cli.images_lookup import usable

    shown: list[Row] = []
    counts: dict[tuple[str, str, str], int] = {}
    for row in rows:
        kind = (row.channel, row.image.arch, row.image.generation)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= SHOWN and usable(row):
            shown.append(row)
    return shown


def _more(rows: Sequence[Row], shown: Sequence[Row], late: Sequence[Contents], where: str) -> None:
    talk = talk_of()
    if len(shown) < len(rows):
        talk.say(f"{len(rows) - len(shown)} older ones are not shown; --all shows them")
    for known in late:
        talk.say(
            f"Flatcar {known.version} ({known.channel}) came out on {known.released}; {where} does not have it yet"
        )
    if shown and where.startswith("the simulated"):
        talk.say(f"these are the images of {where}")


def _table(rows: Sequence[Row]) -> str:
    from flatyard.cli.tables import lined_up

    generations = any(row.image.generation for row in rows)
    head = [
        "CHANNEL",
        "VERSION",
        "",
        "ARCH",
        "GENERATION",
        "RELEASED",
        "IGNITION",
        "SPEC",
        "SYSTEMD",
        "KERNEL",
    ]
    lines = [[*head, "IMAGE"], *map(_cells, rows)]
    if not generations:
        lines = [[*line[:4], *line[5:]] for line in lines]
    return lined_up(lines)


def _cells(row: Row) -> list[str]:
    image, known = row.image, row.contents
    told = (
        [known.released, known.ignition, known.spec, str(known.systemd), known.kernel]
        if known
        else [_NONE] * 5
    )
    star = "*" if row.newest else ""
    return [row.channel, image.version, star, image.arch, image.generation or _NONE, *told, image.reference]


def _listing(cloud: CloudChoice, rows: Sequence[Row], late: Sequence[Contents]) -> dict[str, object]:
    return {
        "cloud": cloud.twin,
        "region": cloud.region,
        "simulated": cloud.simulated,
        "images": [_row_json(row) for row in rows],
        "notThereYet": [known.version for known in late],
    }


def _row_json(row: Row) -> dict[str, object]:
    image, known = row.image, row.contents
    return {
        "channel": row.channel,
        "version": image.version,
        "newest": row.newest,
        "arch": image.arch,
        "generation": image.generation,
        "reference": image.reference,
        "name": image.name,
        **({"kubernetes": image.kubernetes} if image.kubernetes else {}),
        **(contents_json(known) if known else {"released": None}),
    }


# ---- import


@command.command("import", short_help="Bring a release's image to OpenStack.")
@_account
@click.option("--channel", type=click.Choice(CHANNELS), default="stable", show_default=True)
@click.option("--version", default="", metavar="VERSION", help="Default: the channel's current one.")
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), default="amd64", show_default=True)
@click.option(
    "--url", default="", metavar="URL", help="A mirror's image; URL.sig beside it is its signature."
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The public key that signed it, armoured; default: Flatcar's.",
)
@output("text", "json")
@common
def import_command(
    account: Account, channel: str, version: str, arch: str, url: str, key: str | None, output: str
) -> int:
    """Bring a release's image to OpenStack, which offers none: download, check its signature, upload.

    What is there already stays and is named; a download that was interrupted goes on where it stopped.

    \b
    flatyard images import --cloud openstack --os-cloud jetstream2
    """
    from flatyard.cli.images_import import bring

    return bring(account, channel=channel, version=version, arch=arch, url=url, key=key, output=output)
