"""Images with Kubernetes in them are asked for by that version; Flatcar's release comes with each."""

from __future__ import annotations

import pytest

from flatyard.engine.commands import bring_up


@pytest.mark.parametrize(("name", "bound"), [("azure-image.yaml", False), ("azure-sysext.yaml", True)])
def test_the_release_of_the_first_image_binds_later_ones_only_where_kubernetes_is_an_extension(
    simulate, example, name: str, bound: bool
):
    """An image of the next Kubernetes version is built on another release: it would never be found by the old one."""

    async def main(life):
        cloud, asked = life.region.cloud, []
        look = cloud.images

        async def images(query):
            asked.append(query)
            return await look(query)

        cloud.images = images
        _, outcome = await bring_up(life.seams(), life.wanted, 3600.0)
        assert outcome.done, outcome.waits
        return [query.version for query in asked]

    first, *later = simulate(main, example(name))
    assert first is None and later
    assert all((version is not None) == bound for version in later)
