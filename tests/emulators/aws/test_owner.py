"""Whose account credentials lead to: kept with a cluster, so that those of another account are refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from emulators.aws.emulated import REGION, Emulated
from flatyard.base.world import RealWorld
from flatyard.clouds.aws.cloud import AwsCloud
from flatyard.clouds.aws.settings import AwsSettings

pytestmark = pytest.mark.emulated


def test_the_owner_is_the_account_and_not_the_login(aws: Emulated) -> None:
    async def owner(settings: AwsSettings) -> str:
        cloud = AwsCloud(settings, RealWorld())
        try:
            return await cloud.owner()
        finally:
            await cloud.close()

    def of(role: str) -> str:
        settings = replace(AwsSettings(REGION), role=role)
        return aws.stage.inside(lambda: asyncio.run(owner(settings)))

    assert of("") == of("arn:aws:iam::123456789012:role/ops") == "AWS account 123456789012"
    assert of("arn:aws:iam::222222222222:role/ops") == "AWS account 222222222222"
