"""Names, addresses and sysupdate definitions of Kubernetes extension images, as sysext-bakery lays them out.

Existing nodes and feeds interoperate because nothing here is ours: release and file names, the redirector's
paths, the transfer file per minor version and the do-nothing one. Source: flatcar/sysext-bakery, README and
the release process; systemd's sysupdate.d(5).
"""

from __future__ import annotations

from flatyard.base.errors import Refused

BAKERY = "https://extensions.flatcar.org/extensions"
"""The public redirector to the bakery's releases."""
EXTENSION = "kubernetes"
IMAGE_FOLDER = "/opt/extensions/kubernetes"
IMAGE_LINK = "/etc/extensions/kubernetes.raw"
INSTANCES = 3
"""How many images sysupdate keeps on a node."""

_ARCHITECTURES = {"amd64": "x86-64", "arm64": "arm64"}


def extension_arch(arch: str) -> str:
    """`amd64` → `x86-64`: Kubernetes' name of an architecture to systemd's. Raises Refused for others."""
    name = _ARCHITECTURES.get(arch)
    if name is None:
        raise Refused(
            f"there are no Kubernetes extension images for {arch!r}",
            why="sysext-bakery builds for amd64 and arm64",
            next="choose a machine size of one of these architectures",
        )
    return name


def image_name(version: str, arch: str) -> str:
    """`v1.34.3`, `amd64` → `kubernetes-v1.34.3-x86-64.raw`."""
    return f"{EXTENSION}-{version}-{extension_arch(arch)}.raw"


def image_url(version: str, arch: str, base: str = BAKERY) -> str:
    """Where the image is fetched: `BASE/kubernetes/kubernetes-v1.34.3-x86-64.raw`."""
    return f"{base}/{EXTENSION}/{image_name(version, arch)}"


def base_of(url: str) -> str:
    """The feed that an image's address is in."""
    return url.rpartition(f"/{EXTENSION}/")[0]


def sums_url(base: str = BAKERY) -> str:
    """The feed's SHA256SUMS over all versions."""
    return f"{base}/{EXTENSION}/SHA256SUMS"


def minor_of(version: str) -> str:
    """`v1.34.3` → `v1.34`."""
    return version.rpartition(".")[0]


def transfer_name(version: str) -> str:
    """The transfer file's name for a version's minor: `kubernetes-v1.34.conf`. `.conf`, because hosts before
    systemd 257 do not read `.transfer`."""
    return f"{EXTENSION}-{minor_of(version)}.conf"


def transfer_conf(version: str, base: str = BAKERY) -> str:
    """The sysupdate definition that follows the patches of one minor version and of no other."""
    return _transfer(EXTENSION, f"{EXTENSION}-{minor_of(version)}.@v-%a.raw", base)


def extension_conf(extension: str, base: str = BAKERY) -> str:
    """The sysupdate definition that follows every version of an extension, also over minors."""
    return _transfer(extension, f"{extension}-@v-%a.raw", base)


def _transfer(extension: str, pattern: str, base: str) -> str:
    return (
        "[Transfer]\nVerify=false\n\n"
        f"[Source]\nType=url-file\nPath={base}/{extension}/\nMatchPattern={pattern}\n\n"
        f"[Target]\nInstancesMax={INSTANCES}\nType=regular-file\nPath=/opt/extensions/{extension}\n"
        f"CurrentSymlink=/etc/extensions/{extension}.raw\nMatchPattern={pattern}\n"
    )


NOOP_CONF = (
    "[Source]\nType=regular-file\nPath=/\nMatchPattern=invalid@v.raw\n\n"
    "[Target]\nType=regular-file\nPath=/\nMatchPattern=invalid@v.raw\n"
)
"""A definition that matches nothing: without any, `systemd-sysupdate.service` fails (sysext-bakery#88)."""
