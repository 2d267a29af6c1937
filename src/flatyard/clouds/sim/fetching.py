"""What a simulated machine reaches by HTTP: the cluster's stashed objects and a simulated Kubernetes feed."""

from __future__ import annotations

import hashlib
import re

from flatyard.clouds.sim.objects import Objects
from flatyard.clouds.sim.power import BootFaults
from flatyard.ignition.fetch import FetchError
from flatyard.ignition.types import HttpHeader
from flatyard.sysext.layout import NOOP_CONF, transfer_conf
from flatyard.sysext.simulated import simulated_feed, simulated_image

_IMAGE = re.compile(r"https?://.+/kubernetes-(v\d+\.\d+\.\d+)-(x86-64|arm64)\.raw")
_SUMS = re.compile(r"https?://.+/SHA256SUMS")
_CONF = re.compile(r"https?://.+/kubernetes-(v\d+\.\d+)\.conf")
_NOOP = re.compile(r"https?://.+/noop\.conf")
_ARCHES = {"x86-64": "amd64", "arm64": "arm64"}


class Fetching:
    """The network as one machine sees it; a `flatyard.ignition.fetch.Fetcher`.

    Any address that ends in the name of a Kubernetes extension is answered with its simulated image, so that
    mirrors work too; nothing leaves the process.
    """

    def __init__(self, objects: Objects, number: int, faults: BootFaults) -> None:
        self._objects = objects
        self._number = number
        self._faults = faults

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """The body at a URL. Raises FetchError, final for 403 and 404 as in Ignition."""
        answer = self._objects.fetch(url)
        if answer is not None and answer.status == 200:
            return answer.body
        if answer is not None:
            raise FetchError(f"failed to fetch resource: {answer.status}")
        body = self._feed(url)
        if body is None:
            raise FetchError("resource not found")
        return body

    def _feed(self, url: str) -> bytes | None:
        image = _IMAGE.fullmatch(url)
        if image:
            return self._extension(image[1], _ARCHES[image[2]])
        if _SUMS.fullmatch(url):
            pins = simulated_feed().pins
            names = {"amd64": "x86-64", "arm64": "arm64"}
            lines = (f"{pin.sha256}  kubernetes-{pin.version}-{names[pin.arch]}.raw\n" for pin in pins)
            return "".join(lines).encode()
        conf = _CONF.fullmatch(url)
        if conf:
            return transfer_conf(f"{conf[1]}.0").encode()
        return NOOP_CONF.encode() if _NOOP.fullmatch(url) else None

    def _extension(self, version: str, arch: str) -> bytes | None:
        fault = self._faults.sysext(self._number)
        if fault == "missing":
            return None
        image = simulated_image(version, arch)
        if fault == "corrupt":
            place = hashlib.sha256(image).digest()[0] % len(image)
            return image[:place] + bytes([image[place] ^ 1]) + image[place + 1 :]
        return image
