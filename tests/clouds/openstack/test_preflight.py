"""What plan says of images and flavors, pool by pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import TypeVar

from openstack.compute.v2.flavor import Flavor
from openstack.image.v2.image import Image

from flatyard.clouds.openstack.preflight import _images
from flatyard.clouds.pools import pools_of
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meta import ObjectMeta

T = TypeVar("T")
FLATCAR = Image(id="1", name="flatcar-stable-4593.2.5", status="active", os_distro="flatcar", min_disk=10)
FLAVORS = [Flavor(id="a", name="m3.small", disk=20), Flavor(id="b", name="volumes.only", disk=0)]


class Site:
    """As much of a client as looking at images wants."""

    def __init__(self, *there: Image) -> None:
        found = list(there)
        self.sdk = SimpleNamespace(
            image=SimpleNamespace(images=lambda **_: found, get_image=lambda key: found[0])
        )

    def has(self, service: str) -> bool:
        return True

    async def read(self, what: str, call: Callable[[], T]) -> T:
        return call()


def told(site: Site, worker: OpenstackMachine) -> list[str]:
    plane = OpenstackMachine(flavor=ConfigVar("m3.small"))
    cluster = model.Cluster(
        metadata=ObjectMeta(name="prod"),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(openstack=model.OpenstackCloud()),
            control_plane=model.ControlPlane(replicas=1, machine=plane),
            workers=(model.WorkerPool(name="general", replicas=1, machine=worker),),
        ),
    )
    pools = pools_of(OpenstackMachine, cluster, ())
    return [str(problem) for problem in asyncio.run(_images(site, cluster, pools, FLAVORS))]  # type: ignore[arg-type]


def test_a_flavor_without_a_disk_is_found_in_every_pool_of_an_image() -> None:
    """Nova lets nobody but administrators boot such a flavor from an image."""
    worker = OpenstackMachine(flavor=ConfigVar("volumes.only"))
    (said,) = told(Site(FLATCAR), worker)
    assert "flavor volumes.only has no disk of its own" in said and "workers[0]" in said
    assert told(Site(FLATCAR), replace(worker, root_disk_size_gb=20)) == []


def test_a_volume_that_is_too_small_for_the_image_is_found() -> None:
    (said,) = told(Site(FLATCAR), OpenstackMachine(flavor=ConfigVar("m3.small"), root_disk_size_gb=5))
    assert "the image wants 10 GB" in said


def test_an_image_that_is_not_there_is_told_once() -> None:
    (said,) = told(Site(), OpenstackMachine(flavor=ConfigVar("m3.small")))
    assert "no Flatcar image for channel stable" in said
