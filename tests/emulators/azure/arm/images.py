"""Images that can be listed: the marketplace's, a community gallery's; and the terms of those that have a plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import models
from .catalogue import GALLERY, GALLERY_IMAGES, Image
from .errors import ArmError, invalid
from .lists import SUB, known
from .routes import Answer, Request, special
from .world import Body

if TYPE_CHECKING:
    from .app import Arm

Match = re.Match[str]


# ---- images
PUBLISHERS = SUB + r"/providers/Microsoft\.Compute/locations/([^/]+)/publishers"
READ = "Microsoft.Compute/locations/publishers"


def no_artifact() -> ArmError:
    return ArmError(404, "NotFound", "Artifact: VMImage was not found.")


def named(match: Match, word: str, names: list[str]) -> Answer:
    base = match[0].rstrip("/")
    if not names:
        raise no_artifact()
    return Answer(200, [{"id": f"{base}/{name}", "name": name, "location": match[2]} for name in names])


@special("GET", PUBLISHERS, f"{READ}/read")
def publishers(arm: Arm, request: Request, match: Match) -> Answer:
    known(match[2])
    return named(match, "", sorted({image.publisher for image in arm.market.images}))


@special("GET", PUBLISHERS + r"/([^/]+)/artifacttypes/vmimage/offers", f"{READ}/artifacttypes/offers/read")
def offers(arm: Arm, request: Request, match: Match) -> Answer:
    known(match[2])
    found = {image.offer for image in arm.market.images if image.publisher == match[3].lower()}
    return named(match, "", sorted(found))


@special(
    "GET",
    PUBLISHERS + r"/([^/]+)/artifacttypes/vmimage/offers/([^/]+)/skus",
    f"{READ}/artifacttypes/offers/skus/read",
)
def image_skus(arm: Arm, request: Request, match: Match) -> Answer:
    known(match[2])
    found = {
        image.sku
        for image in arm.market.images
        if (image.publisher, image.offer) == (match[3].lower(), match[4].lower())
    }
    return named(match, "", sorted(found))


def features(image: Image) -> list[Body]:
    found = {"DiskControllerTypes": image.controllers}
    if image.generation == "V2" and image.arch == "x64":
        found["SecurityType"] = "TrustedLaunchSupported"
    return [{"name": name, "value": value} for name, value in found.items() if value]


VERSIONS = PUBLISHERS + r"/([^/]+)/artifacttypes/vmimage/offers/([^/]+)/skus/([^/]+)/versions"


@special("GET", VERSIONS, f"{READ}/artifacttypes/offers/skus/versions/read")
def versions(arm: Arm, request: Request, match: Match) -> Answer:
    found = [image.version for image in arm.market.versions(known(match[2]), match[3], match[4], match[5])]
    if "name desc" in request.query.get("$orderby", "").lower():
        found.reverse()
    top = int(request.query.get("$top") or len(found))
    return named(match, "", found[:top])


@special("GET", VERSIONS + r"/([^/]+)", f"{READ}/artifacttypes/offers/skus/versions/read")
def version(arm: Arm, request: Request, match: Match) -> Answer:
    found = arm.market.versions(known(match[2]), match[3], match[4], match[5])
    wanted = found[-1:] if match[6] == "latest" else [image for image in found if image.version == match[6]]
    if not wanted:
        raise no_artifact()
    image = wanted[0]
    properties: Body = {
        "architecture": image.arch,
        "hyperVGeneration": image.generation,
        "osDiskImage": {"operatingSystem": "Linux", "sizeInGb": 9},
        "dataDiskImages": [],
        "features": features(image),
        "imageDeprecationStatus": {"imageState": "Active"},
    }
    if image.plan:
        properties["plan"] = {"publisher": image.publisher, "name": image.sku, "product": image.offer}
    return Answer(
        200, {"id": match[0], "name": image.version, "location": match[2], "properties": properties}
    )


SHARED = SUB + r"/providers/Microsoft\.Compute/locations/([^/]+)/communityGalleries/([^/]+)"
MAY = "Microsoft.Compute/locations/communityGalleries"


def gallery(match: Match) -> None:
    if match[3].lower() != GALLERY:
        raise ArmError(
            404, "GalleryNotFound", f"The community gallery {match[3]} was not found in {match[2]}."
        )


@special("GET", SHARED, f"{MAY}/read")
def community(arm: Arm, request: Request, match: Match) -> Answer:
    gallery(match)
    where = known(match[2])
    return Answer(
        200,
        {"name": GALLERY, "location": where, "identifier": {"uniqueId": f"/CommunityGalleries/{GALLERY}"}},
    )


@special("GET", SHARED + "/images", f"{MAY}/images/read")
def community_images(arm: Arm, request: Request, match: Match) -> Answer:
    gallery(match)
    return arm.pages(request, [community_view(known(match[2]), name) for name in GALLERY_IMAGES])


@special("GET", SHARED + r"/images/([^/]+)", f"{MAY}/images/read")
def community_image(arm: Arm, request: Request, match: Match) -> Answer:
    gallery(match)
    if match[4].lower() not in GALLERY_IMAGES:
        raise ArmError(404, "GalleryImageNotFound", f"The gallery image {match[4]} was not found.")
    return Answer(200, community_view(known(match[2]), match[4].lower()))


def community_view(where: str, name: str) -> Body:
    arch, generation, _ = GALLERY_IMAGES[name]
    return {
        "name": name,
        "location": where,
        "identifier": {"uniqueId": f"/CommunityGalleries/{GALLERY}/Images/{name}"},
        "properties": {
            "osType": "Linux",
            "osState": "Generalized",
            "hyperVGeneration": generation,
            "architecture": arch,
            "identifier": {"publisher": "flatcar", "offer": "capi", "sku": name},
        },
    }


@special("GET", SHARED + r"/images/([^/]+)/versions", f"{MAY}/images/versions/read")
def community_versions(arm: Arm, request: Request, match: Match) -> Answer:
    gallery(match)
    if match[4].lower() not in GALLERY_IMAGES:
        raise ArmError(404, "GalleryImageNotFound", f"The gallery image {match[4]} was not found.")
    where, name = known(match[2]), match[4].lower()
    return arm.pages(request, [version_view(where, name, one) for one in GALLERY_IMAGES[name][2]])


@special("GET", SHARED + r"/images/([^/]+)/versions/([^/]+)", f"{MAY}/images/versions/read")
def community_version(arm: Arm, request: Request, match: Match) -> Answer:
    gallery(match)
    found = GALLERY_IMAGES.get(match[4].lower())
    if found is None or match[5] not in found[2]:
        raise ArmError(404, "GalleryImageNotFound", f"The gallery image version {match[5]} was not found.")
    return Answer(200, version_view(known(match[2]), match[4].lower(), match[5]))


def version_view(where: str, name: str, version: str) -> Body:
    unique = f"/CommunityGalleries/{GALLERY}/Images/{name}/Versions/{version}"
    return {
        "name": version,
        "location": where,
        "identifier": {"uniqueId": unique},
        "properties": {"publishedDate": "2026-11-01T00:00:00+00:00", "excludeFromLatest": False},
    }


# ---- terms
TERMS = SUB + (
    r"/providers/Microsoft\.MarketplaceOrdering/offerTypes/virtualmachine/publishers/([^/]+)/offers/([^/]+)"
    r"/plans/([^/]+)/agreements/current"
)
AGREE = "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements"


def terms(arm: Arm, match: Match) -> Body:
    triple = (match[2].lower(), match[3].lower(), match[4].lower())
    if not any((i.publisher, i.offer, i.sku) == triple and i.plan for i in arm.market.images):
        raise invalid(
            "BadRequest",
            f"Offer with PublisherId: {match[2]} and OfferId: {match[3]} not found or has no plan {match[4]}.",
        )
    return {
        "id": match[0],
        "name": match[4],
        "type": "Microsoft.MarketplaceOrdering/offertypes",
        "properties": {
            "publisher": triple[0],
            "product": triple[1],
            "plan": triple[2],
            "licenseTextLink": "https://storelegalterms.example/license.txt",
            "privacyPolicyLink": "https://kinvolk.io/legal/privacy-policy/",
            "marketplaceTermsLink": "https://storelegalterms.example/terms.txt",
            "retrieveDatetime": "2026-11-01T00:00:00Z",
            "signature": f"SIGNATURE{'.'.join(triple)}",
            "accepted": triple in arm.market.accepted,
        },
    }


@special("GET", TERMS, f"{AGREE}/read")
def get_terms(arm: Arm, request: Request, match: Match) -> Answer:
    return Answer(200, terms(arm, match))


@special("PUT", TERMS, f"{AGREE}/write")
def put_terms(arm: Arm, request: Request, match: Match) -> Answer:
    body = request.json()
    models.check("marketplaceordering.models.AgreementTerms", body)
    shown = terms(arm, match)
    said = body.get("properties") or {}
    if said.get("accepted") and said.get("signature") != shown["properties"]["signature"]:
        raise invalid("BadRequest", "The signature of the terms is not the one that was shown.")
    triple = (match[2].lower(), match[3].lower(), match[4].lower())
    (arm.market.accepted.add if said.get("accepted") else arm.market.accepted.discard)(triple)
    return Answer(200, terms(arm, match))
