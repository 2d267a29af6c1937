"""The life of OpenStack's example file (life.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from emulators.life import Example, Life, lives_and_leaves_nothing
from emulators.openstack.configuration import OF_ITS_OWN
from emulators.stage import Stage

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    *(pytest.mark.filterwarnings(f"ignore:{message}") for message in OF_ITS_OWN),
]


def start_openstack(stage: Stage, end: ExitStack) -> Mapping[str, str]:
    """A project as Jetstream2 gives one: a network with a router, an image, an application credential."""
    from emulators.openstack.services import AUTH_URL, Services

    services = Services(stage)
    services.objects.gateway = True  # as Jetstream2's
    end.callback(services.close)
    services.start()

    def project() -> dict[str, str]:
        user = services.user(services.account("research"))
        network = user.network.create_network(name="auto_allocated_network")
        subnet = user.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/16")
        outside = user.network.find_network("public", ignore_missing=False)
        router = user.network.create_router(name="auto", external_gateway_info={"network_id": outside.id})
        user.network.add_interface_to_router(router, subnet=subnet.id)
        user.image.create_image(
            name="FlatcarContainerLinux-3815-2-2",
            disk_format="raw",
            container_format="bare",
            data=b"flatcar",
            allow_duplicates=True,  # the search for others warns of itself
            os_distro="flatcar",
            os_version="3815.2.2",
            architecture="x86_64",
        )
        made = user.identity.create_application_credential(user.current_user_id, "flatyard")
        return {
            "auth_url": AUTH_URL,
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }

    entry = {
        "auth_type": "v3applicationcredential",
        "region_name": "RegionOne",
        "auth": stage.inside(project),
    }
    clouds = stage.folder / "clouds.yaml"
    clouds.write_text(json.dumps({"clouds": {"openstack": entry}}))
    return {
        "OS_CLIENT_CONFIG_FILE": str(clouds),
        "OS_CLOUD": "openstack",
        "ROOM_CONSOLES": str(services.consoles),
        "ROOM_EVERY": "2",
    }


EXAMPLES = (
    Example(
        "openstack",
        "openstack-jetstream2.yaml",
        "kubejetstream",
        "openstack RegionOne",
        1,
        2,
        "node",
        start_openstack,
        (
            ("https://js2.jetstream-cloud.org:5000/v3/", "http://127.0.0.1:5000/v3"),
            ("region: IU", "region: RegionOne"),
        ),
    ),
)


@pytest.mark.parametrize("life", EXAMPLES, ids=lambda example: example.key, indirect=True)
def test_a_cluster_lives_and_leaves_nothing(life: Life):
    lives_and_leaves_nothing(life)
