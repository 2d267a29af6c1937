"""What cloud-provider-aws made for Services of type LoadBalancer and did not take away: the API was gone.

By default that is a load balancer of the first generation, which has an API of its own. Its interfaces hold subnets,
groups and gateway, so that it goes before the network. All of it is known by the tag kubernetes.io/cluster/ID: owned.
"""

from __future__ import annotations

from flatyard.clouds.aws import endpoint
from flatyard.clouds.aws.answers import DENIED, MISSING, missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.naming import are_ours, ccm_tag, tags_of
from flatyard.clouds.cloud import ClusterRef, Rejected

PAGE = 20
"""Load balancers whose tags one call tells."""


async def delete(account: Account, ref: ClusterRef) -> None:
    """Everything but the security groups; raises Transient while a target group is still in use."""
    for row in await endpoint.balancers(account, ref):
        await endpoint.delete_balancer(account, row["LoadBalancerArn"])
    for row in await classic(account, ref):
        await delete_classic(account, row["LoadBalancerName"])
    for row in await endpoint.target_groups(account, ref):
        await endpoint.delete_group(account, row["TargetGroupArn"])


async def classic(account: Account, ref: ClusterRef) -> list[Answer]:
    """The cluster's load balancers of the first generation."""
    what = f"looking for the classic load balancers of {ref.name}"
    rows = await account.pages(what, "elb", "describe_load_balancers", "LoadBalancerDescriptions")
    by_name = {row["LoadBalancerName"]: row for row in rows}
    names, found = sorted(by_name), []
    for start in range(0, len(names), PAGE):
        for told in await _tags(account, what, names[start : start + PAGE]):
            tags = tags_of(told)
            if are_ours(tags, ref) or tags.get(ccm_tag(ref)) == "owned":
                found.append(by_name[told["LoadBalancerName"]])
    return found


async def groups(account: Account, ref: ClusterRef) -> list[Answer]:
    """The security groups of its load balancers."""
    filters = [{"Name": f"tag:{ccm_tag(ref)}", "Values": ["owned"]}]
    what = f"looking for the security groups of the Services of {ref.name}"
    return await account.pages(what, "ec2", "describe_security_groups", "SecurityGroups", Filters=filters)


async def delete_interfaces(account: Account, ref: ClusterRef, own: list[str]) -> None:
    """Interfaces in our groups that hang on nothing any more, and hold groups and subnets.

    Load balancers and pod networks leave them, some for an hour (kubernetes-sigs/cluster-api-provider-aws#6073). EC2
    deletes none that is attached. A credential that may not is no obstacle: they go by themselves, later.
    """
    filters = [{"Name": "group-id", "Values": own}]
    what = f"looking for interfaces that hold the network of {ref.name}"
    rows = await account.pages(
        what, "ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=filters
    )
    for key in [row["NetworkInterfaceId"] for row in rows if row["Status"] == "available"]:
        try:
            with missing_is_fine():
                await account.write(
                    f"deleting {key}", "ec2", "delete_network_interface", NetworkInterfaceId=key
                )
        except Rejected as no:
            if no.code not in DENIED:
                raise


async def delete_classic(account: Account, name: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {name}", "elb", "delete_load_balancer", LoadBalancerName=name)


async def _tags(account: Account, what: str, names: list[str]) -> list[Answer]:
    """The tags of each, singly where somebody deletes one meanwhile."""
    told: list[Answer] = []
    try:
        told = (await account.read(what, "elb", "describe_tags", LoadBalancerNames=names))["TagDescriptions"]
    except Rejected as no:
        if no.code not in MISSING:
            raise
        for name in names if len(names) > 1 else ():
            told += await _tags(account, what, [name])
    return told
