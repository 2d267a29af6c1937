"""What Microsoft's cloud has, as this emulator's data: places, sizes, images. Figures as published for the real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

PLACES = {
    # name: (title, geography, group, zones, pair)
    "germanywestcentral": ("Germany West Central", "Germany", "Europe", True, "germanynorth"),
    "germanynorth": ("Germany North", "Germany", "Europe", False, "germanywestcentral"),
    "westeurope": ("West Europe", "Europe", "Europe", True, "northeurope"),
    "northeurope": ("North Europe", "Europe", "Europe", True, "westeurope"),
    "francecentral": ("France Central", "France", "Europe", True, "francesouth"),
    "francesouth": ("France South", "France", "Europe", False, "francecentral"),
    "swedencentral": ("Sweden Central", "Sweden", "Europe", True, "swedensouth"),
    "swedensouth": ("Sweden South", "Sweden", "Europe", False, "swedencentral"),
    "uksouth": ("UK South", "United Kingdom", "Europe", True, "ukwest"),
    "ukwest": ("UK West", "United Kingdom", "Europe", False, "uksouth"),
    "eastus": ("East US", "United States", "US", True, "westus"),
    "westus": ("West US", "United States", "US", False, "eastus"),
    "eastus2": ("East US 2", "United States", "US", True, "centralus"),
    "centralus": ("Central US", "United States", "US", True, "eastus2"),
    "qatarcentral": ("Qatar Central", "Qatar", "Middle East", True, ""),
}
ZONES = ("1", "2", "3")


@dataclass(frozen=True)
class Size:
    name: str
    family: str
    cores: int
    memory: float
    arch: str = "x64"
    generations: str = "V1,V2"
    premium: bool = True
    accelerated: bool = True
    disks: int = 4
    trusted: bool = True
    not_in: tuple[str, ...] = ()
    no_zone: tuple[tuple[str, str], ...] = ()
    controllers: str = "SCSI"


def _sizes() -> Iterator[Size]:
    yield Size("Standard_B1s", "standardBSFamily", 1, 1, accelerated=False, disks=2)
    yield Size("Standard_B1ms", "standardBSFamily", 1, 2, accelerated=False, disks=2)
    yield Size("Standard_B2s", "standardBSFamily", 2, 4, accelerated=False)
    yield Size("Standard_B2ms", "standardBSFamily", 2, 8, accelerated=False)
    yield Size("Standard_B4ms", "standardBSFamily", 4, 16, accelerated=False, disks=8)
    yield Size("Standard_B8ms", "standardBSFamily", 8, 32, accelerated=False, disks=16)
    yield Size("Standard_B2ts_v2", "standardBsv2Family", 2, 1)
    yield Size("Standard_B2ls_v2", "standardBsv2Family", 2, 4)
    yield Size("Standard_B2s_v2", "standardBsv2Family", 2, 8)
    yield Size("Standard_B4s_v2", "standardBsv2Family", 4, 16)
    yield Size("Standard_B2ps_v2", "standardBpsv2Family", 2, 8, "Arm64", "V2", trusted=False)
    for cores in (2, 4, 8, 16):
        memory = cores * 4
        yield Size(f"Standard_D{cores}s_v3", "standardDSv3Family", cores, memory, disks=cores * 2)
        yield Size(f"Standard_D{cores}s_v4", "standardDSv4Family", cores, memory, disks=cores * 2)
        yield Size(f"Standard_D{cores}s_v5", "standardDSv5Family", cores, memory, disks=cores * 2)
        yield Size(f"Standard_D{cores}ds_v5", "standardDDSv5Family", cores, memory, disks=cores * 2)
        yield Size(f"Standard_D{cores}as_v5", "standardDASv5Family", cores, memory, disks=cores * 2)
        yield Size(
            f"Standard_D{cores}ps_v5",
            "standardDPSv5Family",
            cores,
            memory,
            "Arm64",
            "V2",
            disks=cores * 2,
            trusted=False,
            no_zone=(("germanywestcentral", "3"),),
        )
        yield Size(
            f"Standard_D{cores}s_v6",
            "standardDSv6Family",
            cores,
            memory,
            generations="V2",
            disks=cores * 2,
            not_in=("germanynorth",),
            controllers="NVMe",
        )
        yield Size(
            f"Standard_E{cores}bs_v5",
            "standardEBSv5Family",
            cores,
            cores * 8,
            disks=cores * 2,
            controllers="SCSI, NVMe",
        )
        yield Size(f"Standard_E{cores}s_v5", "standardESv5Family", cores, cores * 8, disks=cores * 2)
        yield Size(f"Standard_F{cores}s_v2", "standardFSv2Family", cores, cores * 2, disks=cores * 2)


SIZES = {size.name.lower(): size for size in _sizes()}

PUBLISHER = "kinvolk"
_RELEASES = {
    "stable": ("4459.2.3", "4593.2.0", "4593.2.1", "4593.2.4", "4593.2.5"),
    "beta": ("4628.1.0",),
    "alpha": ("4643.0.0",),
    "lts2024": ("4081.3.6",),
}
_OFFERS = {
    # offer: (architecture, skus of Gen1 too, has a plan)
    "flatcar-container-linux-corevm-amd64": ("x64", True, False),
    "flatcar-container-linux-corevm": ("Arm64", False, False),
    "flatcar-container-linux-corevm-arm64": ("Arm64", False, False),
    "flatcar-container-linux-free": ("x64", True, True),
    "flatcar-container-linux": ("x64", True, True),
}


@dataclass
class Image:
    publisher: str
    offer: str
    sku: str
    version: str
    arch: str
    generation: str
    plan: bool
    not_in: set[str] = field(default_factory=set)
    controllers: str = ""
    """As its publisher tagged it; what Flatcar's are tagged with is chosen here: Microsoft's list cannot be read."""


def images() -> list[Image]:
    made = []
    for offer, (arch, both, plan) in _OFFERS.items():
        for channel, versions in _RELEASES.items():
            for version in versions:
                for sku, generation in _skus(channel, both, offer):
                    tagged = "SCSI, NVMe" if generation == "V2" and not plan else ""
                    where = _missing(version)
                    made.append(Image(PUBLISHER, offer, sku, version, arch, generation, plan, where, tagged))
    return made


def _skus(channel: str, both: bool, offer: str) -> list[tuple[str, str]]:
    if both:
        return [(channel, "V1"), (f"{channel}-gen2", "V2")]
    if offer.endswith("arm64"):
        return [(channel, "V2")]
    return [(f"{channel}-arm64", "V2")]


def _missing(version: str) -> set[str]:
    return {"westus"} if version == "4593.2.5" else set()


GALLERY = "flatcar4capi-742ef0cb-dcaa-4ecb-9cb0-bfd2e43dccc0"
GALLERY_IMAGES = {
    f"flatcar-{channel}-{arch}-capi-v{kubernetes}": ("x64" if arch == "amd64" else "Arm64", "V2", versions)
    for channel, versions in (("stable", ("4459.2.3", "4593.2.5")), ("beta", ("4628.1.0",)))
    for arch in ("amd64", "arm64")
    for kubernetes in ("1.33.7", "1.34.3", "1.35.4")
}


def order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
