"""Roles and instance profiles of a cluster's machines, where the machine specs name none.

A worker may read the cluster's first-boot objects and what the kubelet's neighbours need; a control plane may besides
do what cloud-provider-aws documents for its controller manager.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from flatyard.clouds.aws.answers import missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import iam_path, pairs, profile_name
from flatyard.clouds.cloud import CloudError, ClusterRef, Role
from flatyard.clouds.naming import bucket_of
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine, MachineSpec

POLICY = "flatyard"
_THERE = {"add_role_to_instance_profile": "LimitExceeded"}
"""How IAM says that it is done already, where that is not EntityAlreadyExists: a profile holds one role."""
_EC2, _EC2_CHINA = "ec2.amazonaws.com", "ec2.amazonaws.com.cn"
_WORKER = (
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)
_CONTROL_PLANE = (
    *_WORKER,
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLaunchConfigurations",
    "autoscaling:DescribeTags",
    "ec2:AttachVolume",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateRoute",
    "ec2:CreateSecurityGroup",
    "ec2:CreateSnapshot",
    "ec2:CreateTags",
    "ec2:CreateVolume",
    "ec2:DeleteRoute",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteSnapshot",
    "ec2:DeleteVolume",
    "ec2:Describe*",
    "ec2:DetachVolume",
    "ec2:ModifyInstanceAttribute",
    "ec2:ModifyVolume",
    "ec2:RevokeSecurityGroupIngress",
    "elasticloadbalancing:*",
    "kms:DescribeKey",
)
ACTIONS = {Role.CONTROL_PLANE: _CONTROL_PLANE, Role.WORKER: _WORKER}
"""What machines may do, by role, after cloud-provider-aws' "Prerequisites" page and the EBS driver's example policy."""


async def ensure_for(account: Account, ref: ClusterRef, cluster: Cluster) -> None:
    """The profiles of the roles for which some machine spec of the cluster names none."""
    if not _has_own(cluster.spec.control_plane.machine):
        await ensure(account, ref, Role.CONTROL_PLANE)
    pools = cluster.spec.workers
    if not pools or not all(_has_own(pool.machine) for pool in pools):
        await ensure(account, ref, Role.WORKER)


def _has_own(machine: MachineSpec | None) -> bool:
    return isinstance(machine, AwsMachine) and bool(machine.instance_profile.value)


async def ensure(account: Account, ref: ClusterRef, role: Role) -> str:
    """The name of the role's instance profile, which exists then. EC2 hears of a new one seconds later."""
    name, path = profile_name(ref, role.value), iam_path(ref)
    what, tags = f"making the instance profile {name}", pairs(cluster_tags(ref, FACTS.tags))
    found = await _profile(account, name)
    if found is None:
        await _role(account, ref, role)
        found = await _made(
            account,
            "create_instance_profile",
            what,
            {"InstanceProfileName": name, "Path": path, "Tags": tags},
        ) or await _profile(account, name)
    if not (found or {}).get("Roles"):
        await _role(account, ref, role)
        pair = {"InstanceProfileName": name, "RoleName": name}
        await _made(account, "add_role_to_instance_profile", what, pair)
    return name


async def delete(account: Account, ref: ClusterRef) -> None:
    """Every role and profile of the cluster."""
    for row in await listed(account, ref, "instance_profiles"):
        await delete_profile(account, row["InstanceProfileName"])
    for row in await listed(account, ref, "roles"):
        await delete_role(account, row["RoleName"])


async def listed(account: Account, ref: ClusterRef, kind: str) -> list[Answer]:
    """The cluster's `roles` or `instance_profiles`, with their CreateDate."""
    key = "Roles" if kind == "roles" else "InstanceProfiles"
    what = f"looking for the {kind.replace('_', ' ')} of {ref.name}"
    return await account.pages(what, "iam", f"list_{kind}", key, PathPrefix=iam_path(ref))


async def delete_profile(account: Account, name: str) -> None:
    what = f"deleting the instance profile {name}"
    with missing_is_fine():
        found = await account.read(what, "iam", "get_instance_profile", InstanceProfileName=name)
        for role in found["InstanceProfile"]["Roles"]:
            pair = {"InstanceProfileName": name, "RoleName": role["RoleName"]}
            with missing_is_fine():
                await account.write(what, "iam", "remove_role_from_instance_profile", **pair)
        await account.write(what, "iam", "delete_instance_profile", InstanceProfileName=name)


async def delete_role(account: Account, name: str) -> None:
    """With what others gave it since, as for a driver of the cluster's: it holds the role."""
    what, role = f"deleting the role {name}", {"RoleName": name}
    with missing_is_fine():
        given = await account.pages(what, "iam", "list_attached_role_policies", "AttachedPolicies", **role)
        for row in given:
            await account.write(what, "iam", "detach_role_policy", PolicyArn=row["PolicyArn"], **role)
        inside = await account.read(what, "iam", "list_role_policies", **role)
        for policy_name in inside["PolicyNames"]:
            await account.write(what, "iam", "delete_role_policy", PolicyName=policy_name, **role)
        await account.write(what, "iam", "delete_role", **role)


async def _profile(account: Account, name: str) -> Answer | None:
    what = f"looking for the instance profile {name}"
    found: Answer | None = None
    with missing_is_fine():
        answer = await account.read(what, "iam", "get_instance_profile", InstanceProfileName=name)
        found = answer["InstanceProfile"]
    return found


async def _role(account: Account, ref: ClusterRef, role: Role) -> None:
    name = profile_name(ref, role.value)
    what = f"making the role {name}"
    asked = {
        "RoleName": name,
        "Path": iam_path(ref),
        "AssumeRolePolicyDocument": json.dumps(trust(account.partition)),
        "Description": f"{role.value} machines of the Kubernetes cluster {ref.name}",
        "Tags": pairs(cluster_tags(ref, FACTS.tags)),
    }
    await _made(account, "create_role", what, asked)
    document = json.dumps(policy(ref, role, account.partition))
    await account.follow(
        what, "iam", "put_role_policy", RoleName=name, PolicyName=POLICY, PolicyDocument=document
    )


def trust(partition: str) -> Answer:
    """Who may use the role: EC2, which is called otherwise in China (Amazon Web Services in China, "IAM")."""
    service = _EC2_CHINA if partition == "aws-cn" else _EC2
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy(ref: ClusterRef, role: Role, partition: str) -> Answer:
    """What machines of a role may do."""
    objects = f"arn:{partition}:s3:::{bucket_of(ref)}/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [objects]},
            {"Effect": "Allow", "Action": list(ACTIONS[role]), "Resource": ["*"]},
        ],
    }


async def _made(account: Account, operation: str, what: str, asked: Mapping[str, object]) -> Answer | None:
    """IAM's creates have no tokens: what is there already was made by an earlier try."""
    try:
        answer = await account.follow(what, "iam", operation, **asked)
    except CloudError as no:
        if no.code != _THERE.get(operation, "EntityAlreadyExists"):
            raise
        return None
    return answer.get("InstanceProfile")
