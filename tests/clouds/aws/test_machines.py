"""What EC2 says of an instance, in the engine's words."""

from __future__ import annotations

import pytest

from flatyard.clouds.aws.machines import instance
from flatyard.clouds.cloud import InstanceState


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("Client.UserInitiatedShutdown", "User initiated shutdown", ""),
        ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown", ""),
        ("Server.InternalError", "Internal error on launch", "Internal error on launch"),
        ("Client.VolumeLimitExceeded", "Volume limit exceeded", "Volume limit exceeded"),
        ("Client.InvalidKMSKey.InvalidState", "The KMS key is disabled", "The KMS key is disabled"),
        (
            "Client.InternalError",
            "Client error on launch",
            "Client error on launch; as a rule the credentials may not use the KMS key of an encrypted volume "
            "(kms:CreateGrant)",
        ),
    ],
)
def test_why_an_instance_ended_is_told_unless_somebody_wanted_it(code: str, message: str, error: str) -> None:
    """An encrypted disk whose key does not open it ends each attempt: without the reason nobody knew why."""
    row = {
        "InstanceId": "i-1",
        "State": {"Name": "terminated"},
        "StateReason": {"Code": code, "Message": message},
    }
    found = instance(row, "eu-central-1")
    assert (found.state, found.error) == (InstanceState.TERMINATED, error)


def test_one_that_the_cloud_stopped_is_in_error_and_one_that_was_switched_off_is_not() -> None:
    row = {"InstanceId": "i-1", "State": {"Name": "stopped"}, "StateReason": {"Code": "Server.ScheduledStop"}}
    assert instance(row, "eu-central-1").state is InstanceState.ERROR
    row["StateReason"] = {"Code": "Client.UserInitiatedShutdown"}
    assert instance(row, "eu-central-1").state is InstanceState.STOPPED
    assert instance({**row, "StateReason": {}}, "eu-central-1").state is InstanceState.STOPPED
