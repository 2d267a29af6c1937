"""Sizes, quotas and images as they are offered to this subscription."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .catalogue import GALLERY, GALLERY_IMAGES, Image, Size, images, order
from .errors import ArmError, invalid
from .world import Resource, World

DEFAULTS = {
    "PublicIPAddresses": 1000,
    "IPv4StandardSkuPublicIpAddresses": 1000,
    "VirtualNetworks": 1000,
    "LoadBalancers": 1000,
    "virtualMachines": 25_000,
}
CORES = 2000
TITLES = {
    "cores": "Total Regional vCPUs",
    "virtualMachines": "Virtual Machines",
    "PublicIPAddresses": "Public IP Addresses",
    "IPv4StandardSkuPublicIpAddresses": "Public IPv4 Addresses - Standard",
    "VirtualNetworks": "Virtual Networks",
    "LoadBalancers": "Load Balancers",
}


class Market:
    def __init__(self) -> None:
        self.limits: dict[tuple[str, str], int] = {}
        self.withdrawn: set[tuple[str, str, str]] = {("standard_e2s_v5", "westus", "")}
        self.images = images()
        self.retold: dict[str, str] = {}
        self.plain: set[str] = set()
        self.accepted: set[tuple[str, str, str]] = set()

    def limit(self, location: str, name: str) -> int:
        return self.limits.get((location, name.lower()), DEFAULTS.get(name, CORES))

    def controllers(self, size: Size) -> str:
        return self.retold.get(size.name.lower(), size.controllers)

    def premium(self, size: Size) -> bool:
        return size.premium and size.name.lower() not in self.plain

    # ---- images
    def versions(self, location: str, publisher: str, offer: str, sku: str) -> list[Image]:
        found = [
            image
            for image in self.images
            if (image.publisher, image.offer, image.sku) == (publisher.lower(), offer.lower(), sku.lower())
            and location not in image.not_in
        ]
        return sorted(found, key=lambda image: order(image.version))

    def resolve(self, world: World, vm: Resource, reference: Mapping[str, Any]) -> tuple[str, str]:
        """Architecture and generation of the image that a machine asks for."""
        if reference.get("communityGalleryImageId"):
            return self._community(vm, str(reference["communityGalleryImageId"]))
        if reference.get("id"):
            raise ArmError(
                404, "NotFound", f"The image '{reference['id']}' was not found.", target="imageReference"
            )
        found = self._platform(vm, reference)
        vm.hidden |= {
            "version": found.version,
            "generation": found.generation,
            "controllers": found.controllers or "SCSI",
        }
        self._plan(vm, found)
        return found.arch, found.generation

    def _platform(self, vm: Resource, reference: Mapping[str, Any]) -> Image:
        words = [str(reference.get(word) or "") for word in ("publisher", "offer", "sku", "version")]
        for name, word in zip(("publisher", "offer", "sku", "version"), words, strict=True):
            if not word:
                raise invalid(
                    "InvalidParameter",
                    f"Required parameter 'imageReference.{name}' is missing (null).",
                    "imageReference",
                )
        known = self.versions(vm.location, *words[:3])
        wanted = known[-1:] if words[3] == "latest" else [i for i in known if i.version == words[3]]
        if not wanted:
            raise ArmError(
                404,
                "PlatformImageNotFound",
                f"The platform image '{':'.join(words)}' is not available. Verify that all fields in the storage "
                "profile are correct. For more details about storage profile information, please refer to "
                "https://aka.ms/storageprofile",
                target="imageReference",
            )
        return wanted[-1]

    def _plan(self, vm: Resource, image: Image) -> None:
        plan = vm.body.get("plan")
        wanted = {"name": image.sku, "publisher": image.publisher, "product": image.offer}
        if not image.plan:
            if plan:
                raise invalid(
                    "VMMarketplaceInvalidInput",
                    f"Unable to deploy from the Marketplace image or a custom image sourced from Marketplace image. "
                    f"The part number in the purchase information for VM '{vm.id}' is not as expected. Beware that "
                    "the Plan object's properties are case-sensitive.",
                )
            return
        if not plan:
            raise invalid(
                "VMMarketplaceInvalidInput",
                "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image "
                f"requires Plan information in the request. VM: '{vm.id}'.",
            )
        if {word: plan.get(word) for word in wanted} != wanted:
            raise invalid(
                "VMMarketplaceInvalidInput",
                f"The part number in the purchase information for VM '{vm.id}' is not as expected. Beware that the "
                "Plan object's properties are case-sensitive.",
            )
        if (image.publisher, image.offer, image.sku) not in self.accepted:
            raise invalid(
                "MarketplacePurchaseEligibilityFailed",
                "Marketplace purchase eligibilty check returned errors. See inner errors for details. "
                f"[ResourcePurchaseValidationFailed: You have not accepted the legal terms on this subscription for "
                f"this plan: publisher {image.publisher}, offer {image.offer}, plan {image.sku}.]",
            )

    def _community(self, vm: Resource, raw: str) -> tuple[str, str]:
        words = raw.strip("/").split("/")
        found = None
        if [word.lower() for word in words[0::2]][:2] == ["communitygalleries", "images"] and len(words) >= 4:
            found = GALLERY_IMAGES.get(words[3].lower()) if words[1].lower() == GALLERY else None
        if found is None or (len(words) > 5 and words[5] not in (*found[2], "latest")):
            raise ArmError(
                404,
                "GalleryImageNotFound",
                f"The gallery image {raw} is not available in {vm.location} region. Please contact image owner to "
                "replicate to this region, or change your requested region.",
                target="imageReference",
            )
        vm.hidden |= {"version": found[2][-1], "generation": found[1], "controllers": "SCSI"}
        return found[0], found[1]
