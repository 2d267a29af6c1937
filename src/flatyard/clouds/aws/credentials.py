"""Credentials for AWS, found as the `aws` command finds them: environment, profile, SSO, web identity, the instance's
role; or as a machine spec names them. They are never printed.
"""

from __future__ import annotations

from functools import cache, partial

import boto3
import botocore.credentials
import botocore.loaders
import botocore.session
from botocore.exceptions import BotoCoreError, ProfileNotFound

from flatyard.base.errors import Refused
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import NoAccount

FIND = (
    "set AWS_PROFILE, run aws sso login or aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


def session(settings: AwsSettings) -> boto3.Session:
    """A session with credentials. Raises NoAccount when there are none, Refused for a profile that is not there."""
    core = botocore.session.Session(profile=settings.profile or None)
    core.register_component("data_loader", _models())
    try:
        if settings.access_key_id:
            core.set_credentials(settings.access_key_id, settings.secret_access_key)
        found = core.get_credentials()
    except ProfileNotFound:
        raise _no_profile(core, settings.profile or core.profile or "") from None
    except BotoCoreError as no:
        raise Refused("the AWS credentials cannot be read", why=str(no), next=FIND) from None
    if found is None:
        raise NoAccount(
            "there are no AWS credentials", why="neither the file nor the environment has any", next=FIND
        )
    if settings.role:
        _assume(core, settings)
    return boto3.Session(botocore_session=core, region_name=settings.region)


def _no_profile(core: botocore.session.Session, name: str) -> Refused:
    """Where there is no profile at all, nobody has said yet who asks."""
    names = core.available_profiles
    return (Refused if names else NoAccount)(
        f"there is no AWS profile {name!r}",
        why=f"the shared configuration has: {', '.join(names) or 'none'}",
        next=f"aws configure --profile {name}",
    )


@cache
def _models() -> botocore.loaders.Loader:
    """The descriptions of the services, which take half a second to read, read once for every session."""
    return botocore.loaders.create_loader()


def temporary(made: boto3.Session) -> bool:
    """Whether the credentials end by themselves: a URL signed with them ends then too."""
    found = made.get_credentials()
    return isinstance(found, botocore.credentials.RefreshableCredentials) or bool(found and found.token)


def profiles() -> tuple[str, ...]:
    """The profiles of the shared configuration."""
    return tuple(botocore.session.Session().available_profiles)


def _assume(core: botocore.session.Session, settings: AwsSettings) -> None:
    """The role's credentials, fetched with the first call and again before they end."""
    source = core.get_credentials()
    extra = {"ExternalId": settings.external_id} if settings.external_id else {}
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        partial(core.create_client, region_name=settings.region),
        source,
        settings.role,
        extra_args={"RoleSessionName": "flatyard", **extra},
    )
    core._credentials = botocore.credentials.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
