"""Preflight finds each wrong thing before anything is made, and makes nothing itself."""

from __future__ import annotations

from flatyard.base.errors import Failed
from flatyard.clouds.conformance.bench import Bench, Check, owned


async def _said(bench: Bench, number: int) -> str:
    """A wrong credential may end the asking; everything else is a problem among the others."""
    plant = bench.planted[number]
    try:
        return "\n".join(str(problem) for problem in await bench.cloud.preflight(plant.cluster))
    except Failed as no:
        if plant.name != "credential":
            raise
        return str(no)


async def _finds(bench: Bench, name: str) -> None:
    numbers = [number for number, plant in enumerate(bench.planted) if plant.name == name]
    assert numbers, f"the bench plants no wrong {name}: let it, or say in `cannot` why not"
    before = [await owned(bench, ref) for ref in (bench.ref, bench.other)]
    for number in numbers:
        said = await _said(bench, number)
        words = bench.planted[number].words
        assert words in said, f"with a wrong {name}, preflight says {said!r} and not {words!r}"
    after = [await owned(bench, ref) for ref in (bench.ref, bench.other)]
    assert before == after, "preflight made or removed something"


async def preflight_finds_nothing_wrong(bench: Bench) -> None:
    found = await bench.cloud.preflight(bench.cluster)
    assert not found, f"preflight says {found}"
    assert not await owned(bench), "preflight made something"


async def preflight_finds_a_wrong_region(bench: Bench) -> None:
    await _finds(bench, "region")


async def preflight_finds_a_wrong_size(bench: Bench) -> None:
    await _finds(bench, "size")


async def preflight_finds_a_wrong_image(bench: Bench) -> None:
    await _finds(bench, "image")


async def preflight_finds_a_wrong_zone(bench: Bench) -> None:
    await _finds(bench, "zone")


async def preflight_finds_a_wrong_subnet(bench: Bench) -> None:
    await _finds(bench, "subnet")


async def preflight_finds_a_quota(bench: Bench) -> None:
    await _finds(bench, "quota")


async def preflight_finds_a_wrong_name(bench: Bench) -> None:
    await _finds(bench, "name")


async def preflight_finds_a_wrong_credential(bench: Bench) -> None:
    await _finds(bench, "credential")


CHECKS: tuple[Check, ...] = (
    preflight_finds_nothing_wrong,
    preflight_finds_a_wrong_region,
    preflight_finds_a_wrong_size,
    preflight_finds_a_wrong_image,
    preflight_finds_a_wrong_zone,
    preflight_finds_a_wrong_subnet,
    preflight_finds_a_quota,
    preflight_finds_a_wrong_name,
    preflight_finds_a_wrong_credential,
)
