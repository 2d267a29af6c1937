"""What the provider refuses to create: the checks of a create call, with the cloud's own answers."""

from __future__ import annotations

from flatyard.clouds.facts import CloudFacts, Size, Trouble
from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.door import refused
from flatyard.clouds.sim.images import Images
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.rows import ImageRow


class Admission:
    """Checks a create call against the facts of the cloud and the state of the account."""

    def __init__(self, account: Account, images: Images) -> None:
        self._account = account
        self._images = images

    def check(self, run: RunInstance) -> tuple[Size, ImageRow]:
        """Size and image of the order; raises Refused."""
        account, facts = self._account, self._account.facts
        if run.zone not in account.persona.region.zones:
            raise account.refuse(Trouble.SIZE_NOT_IN_ZONE, name=run.size, zone=run.zone)
        size = facts.size(run.size) or self._own_size(run)
        image = self._images.get(run.image)
        if image is None:
            raise account.refuse(Trouble.IMAGE_NOT_FOUND, name=run.image)
        if image.arch != size.arch or (size.generations and image.generation not in size.generations):
            raise account.refuse(Trouble.ARCH_MISMATCH, name=run.size)
        check_texts(facts, run)
        if account.subnets.get(run.subnet) is None:
            raise account.refuse(Trouble.NOT_FOUND, name=run.subnet)
        return size, image

    def _own_size(self, run: RunInstance) -> Size:
        if self._account.facts.open_sizes and run.vcpus and run.memory_mib:
            return Size(run.size, run.vcpus, run.memory_mib)
        raise self._account.refuse(Trouble.SIZE_NOT_FOUND, name=run.size, zone=run.zone)

    def quotas(self, size: Size, alive: int, vcpus: int) -> None:
        """Whether one more instance of this size fits; raises Refused."""
        quotas, refuse = self._account.quotas, self._account.refuse
        if quotas.instances and alive >= quotas.instances:
            raise refuse(Trouble.QUOTA_INSTANCES, limit=quotas.instances, used=alive, wanted=1)
        if quotas.vcpus and vcpus + size.vcpus > quotas.vcpus:
            raise refuse(Trouble.QUOTA_VCPUS, limit=quotas.vcpus, used=vcpus, wanted=size.vcpus)

    def capacity(self, run: RunInstance, size: Size) -> str:
        """Empty, or the fault with which the instance will fail later; raises Refused where it fails now."""
        if run.zone not in self._account.closed_zones:
            return ""
        refusal = self._account.refuse(Trouble.CAPACITY, name=size.name, zone=run.zone)
        if not refusal.refusal.late:
            raise refusal
        return f"{refusal.refusal.code}: {refusal.message}"


def check_texts(facts: CloudFacts, run: RunInstance) -> None:
    """Whether the cloud takes these user data, this name and these tags; raises Refused."""
    size, limit = facts.user_data.size(run.user_data), facts.user_data.limit
    if size > limit:
        raise refused(facts, Trouble.USER_DATA_TOO_LARGE, used=size, limit=limit)
    if not facts.instance_name.fits(run.name):
        raise refused(facts, Trouble.INVALID_NAME, name=run.name)
    wrong = [key for key, value in run.tags.items() if not facts.tags.fits(key, value)]
    if wrong or len(run.tags) > facts.tags.count:
        raise refused(facts, Trouble.INVALID_TAG, name=wrong[0] if wrong else f"{len(run.tags)} of them")
