"""Images of the user's own, by id: preflight looks at them where they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.mgmt.compute import models as vm

from emulators.azure.bench import FOREIGN, LOCATION, AzureBench, cluster
from emulators.azure.place import SUBSCRIPTION, Arm, start
from emulators.stage import Stage
from flatyard.decode.types import ConfigVar
from flatyard.model.machines import AzureMachine

pytestmark = pytest.mark.emulated
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{FOREIGN}/providers/Microsoft.Compute"
GALLERY = f"{GROUP}/galleries/own/images/flatcar"
CASES = {
    "nope": "'nope' is the id of no image; allowed: ",
    f"{GROUP}/disks/d": "is the id of no image",
    f"{GROUP}/images/here": "",
    f"{GROUP}/images/there": "image there is not in germanywestcentral; allowed: westeurope",
    f"{GROUP}/images/none": f"there is no image {GROUP}/images/none",
    f"{GALLERY}": "",
    f"{GALLERY}/versions/latest": "",
    f"{GALLERY}/versions/1.0.0": "",
    f"{GALLERY}/versions/1.0.1": "image flatcar is not in germanywestcentral; allowed: westeurope",
    f"{GALLERY}/versions/9.9.9": "there is no image",
    f"{GALLERY}x/versions/1.0.0": "there is no image",
    f"{GROUP}/images/old": "image old is gen1, and Standard_B2ps_v2 boots gen2",
    f"{GROUP}/galleries/own/images/amd/versions/1.0.0": "image amd is for amd64, and Standard_B2ps_v2 is arm64",
}


@pytest.fixture(scope="module")
def arm(new_stage) -> Iterator[tuple[Stage, Arm]]:
    stage = new_stage("azure-own-images")
    try:
        yield stage, start(stage, blobs=True)
    finally:
        stage.close()


def _make(bench: AzureBench) -> None:
    bench._group()
    compute = bench.clients.compute
    for name, location in (("here", LOCATION), ("there", "westeurope")):
        compute.images.begin_create_or_update(FOREIGN, name, vm.Image(location=location)).result()
    old = vm.Image(location=LOCATION, properties=vm.ImageProperties(hyper_v_generation="V1"))
    compute.images.begin_create_or_update(FOREIGN, "old", old).result()
    compute.galleries.begin_create_or_update(FOREIGN, "own", vm.Gallery(location="westeurope")).result()
    properties = vm.GalleryImageProperties(
        os_type="Linux",
        os_state="Generalized",
        identifier=vm.GalleryImageIdentifier(publisher="p", offer="o", sku="s"),
    )
    image = vm.GalleryImage(location="westeurope", properties=properties)
    compute.gallery_images.begin_create_or_update(FOREIGN, "own", "flatcar", image).result()
    properties.architecture, properties.hyper_v_generation = "x64", "V2"
    compute.gallery_images.begin_create_or_update(FOREIGN, "own", "amd", image).result()
    for version, regions in (("1.0.0", ("westeurope", "Germany West Central")), ("1.0.1", ("westeurope",))):
        profile = vm.GalleryImageVersionPublishingProfile(
            target_regions=[vm.TargetRegion(name=region) for region in regions]
        )
        made = vm.GalleryImageVersion(
            location="westeurope",
            properties=vm.GalleryImageVersionProperties(
                publishing_profile=profile, storage_profile=vm.GalleryImageVersionStorageProfile()
            ),
        )
        api = compute.gallery_image_versions
        for name in ("flatcar", "amd"):
            api.begin_create_or_update(FOREIGN, "own", name, version, made).result()


def test_an_own_image_that_is_not_there_or_not_in_the_location_is_told_at_its_place(
    arm: tuple[Stage, Arm],
) -> None:
    stage, place = arm

    async def main() -> dict[str, list[str]]:
        place.reset()
        place.durations(retry_after=0)
        bench = AzureBench(place)
        try:
            _make(bench)
            found = {}
            for image in CASES:
                size = ConfigVar("Standard_B2ps_v2")
                wanted = cluster(machine=AzureMachine(image_id=ConfigVar(image), vm_size=size))
                found[image] = [str(problem) for problem in await bench.cloud.preflight(wanted)]
            return found
        finally:
            await bench.close()

    for image, said in stage.run(main).items():
        wanted = CASES[image]
        assert bool(said) == bool(wanted), f"{image}: {said}"
        assert all(wanted in line and "machine.imageID: " in line for line in said), f"{image}: {said}"
