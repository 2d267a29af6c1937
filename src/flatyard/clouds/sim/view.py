"""How an instance looks from outside and from inside: names, addresses, providerID, what its machine gets."""

from __future__ import annotations

from collections.abc import Callable

from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.power import Power
from flatyard.clouds.sim.rows import ImageRow, InstanceRow
from flatyard.clouds.tags import machine_id
from flatyard.ignition.fetch import Fetcher
from flatyard.model.traits import NodeNameRule


class View:
    """Derives from an instance's row what the cloud and the machine say about it."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def power(
        self,
        row: InstanceRow,
        image: ImageRow,
        user_data: bytes,
        console: Callable[[str], None],
        fetcher: Fetcher,
    ) -> Power:
        """What the instance gives to the machine in it."""
        facts = self._account.facts
        node_name = self.node_name(row)
        return Power(
            instance_id=row.id,
            machine_id=machine_id(row.tags, facts.tags),
            number=row.number,
            name=row.name,
            hostname=node_name if facts.node_name is NodeNameRule.PRIVATE_DNS else row.name,
            node_name=node_name,
            provider_id=self.provider_id(row),
            region=self._account.persona.region.name,
            zone=row.zone,
            addresses=self.addresses(row),
            devices=self._devices(row),
            arch=image.arch,
            vcpus=row.vcpus,
            memory_mib=row.memory_mib,
            image_version=image.version,
            image_channel=image.channel,
            kubernetes=image.kubernetes or None,
            platform=facts.ignition_platform,
            user_data=user_data,
            console=console,
            fetcher=fetcher,
        )

    def _devices(self, row: InstanceRow) -> tuple[str, ...]:
        facts = self._account.facts
        extra = any(volume.instance == row.id for volume in self._account.volumes)
        return (facts.root_device, facts.etcd_device_of(row.size)) if extra else (facts.root_device,)

    def node_name(self, row: InstanceRow) -> str:
        """What the node calls itself; AWS has a domain of its own in us-east-1."""
        if self._account.facts.node_name is not NodeNameRule.PRIVATE_DNS:
            return row.name
        region = self._account.persona.region.name
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return f"ip-{row.address.replace('.', '-')}.{domain}"

    def provider_id(self, row: InstanceRow) -> str:
        """What the node's spec.providerID says."""
        persona = self._account.persona
        return persona.facts.provider_id.format(
            region=persona.region.name,
            zone=row.zone,
            id=row.id,
            uuid=row.id,
            name=row.name,
            group=row.group,
            account=persona.account,
        )

    def addresses(self, row: InstanceRow) -> tuple[tuple[str, str], ...]:
        """Addresses as a Node reports them."""
        node_name = self.node_name(row)
        pairs = [("InternalIP", row.address), ("Hostname", node_name)]
        if self._account.facts.node_name is NodeNameRule.PRIVATE_DNS:
            pairs.append(("InternalDNS", node_name))
        if row.public:
            pairs.append(("ExternalIP", row.public))
        return tuple(pairs)
