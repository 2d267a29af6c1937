"""Which subscription, group and credentials a Cluster and an environment mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from azure.identity import (
    ChainedTokenCredential,
    ClientSecretCredential,
    WorkloadIdentityCredential,
)

from flatyard.base.errors import Refused
from flatyard.clouds.azure.credentials import credential
from flatyard.clouds.azure.settings import ACCEPT_TERMS, IDENTITY, AzureSettings, settings
from flatyard.clouds.cloud import ClusterRef
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import AzureMachine
from flatyard.model.meta import ObjectMeta

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")


def cluster(machine: AzureMachine | None = None, **azure: str) -> model.Cluster:
    return model.Cluster(
        metadata=ObjectMeta(name="prod"),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(azure=model.AzureCloud(location="westeurope", **azure)),  # type: ignore[arg-type]
            control_plane=model.ControlPlane(machine=machine),
        ),
    )


def place(machine: AzureMachine | None = None, **environment: str) -> AzureSettings:
    return settings(cluster(machine), {"AZURE_SUBSCRIPTION_ID": "S", "HOME": "/nowhere", **environment})


def test_the_file_s_subscription_goes_before_the_environment_s() -> None:
    assert (
        settings(cluster(subscription_id="F"), {"AZURE_SUBSCRIPTION_ID": "E", "HOME": "/"}).subscription
        == "F"
    )


def test_the_subscription_is_the_one_that_az_has_chosen(tmp_path: Path) -> None:
    subscriptions = [
        {"id": "A", "isDefault": False, "tenantId": "TA"},
        {"id": "B", "isDefault": True, "tenantId": "TB"},
    ]
    (tmp_path / "azureProfile.json").write_text(
        "\ufeff" + json.dumps({"subscriptions": subscriptions}), encoding="utf-8"
    )
    az = {"AZURE_CONFIG_DIR": str(tmp_path)}
    assert (settings(cluster(), az).subscription, settings(cluster(), az).tenant) == ("B", "TB")
    other = settings(cluster(subscription_id="a"), az)
    assert (other.subscription, other.tenant) == ("a", "TA")
    assert settings(cluster(subscription_id="c"), az).tenant == ""
    assert settings(cluster(tenant_id="T"), az).tenant == "T"


def test_without_a_subscription_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no Azure subscription") as no:
        settings(cluster(), {"AZURE_CONFIG_DIR": str(tmp_path)})
    assert "az login" in no.value.next


def test_clusters_of_one_name_have_groups_of_their_own() -> None:
    other = replace(REF, id="01JGFJJZ00BBBBBBBBBBBBBBBB")
    assert place().group_for(REF) == "flatyard-prod-aaaaaaaa" != place().group_for(other)
    assert replace(place(), group="mine").group_for(REF) == "mine"


@pytest.mark.parametrize(
    ("name", "authority"),
    [("AzureChinaCloud", "login.chinacloudapi.cn"), ("AzureUSGovernment", "login.microsoftonline.us")],
)
def test_sovereign_clouds_have_their_own_addresses(name: str, authority: str) -> None:
    assert authority in place(AZURE_ENVIRONMENT=name).authority


def test_an_unknown_cloud_is_refused() -> None:
    with pytest.raises(Refused, match="none of Azure's clouds"):
        place(AZURE_ENVIRONMENT="AzureGermanCloud")


def test_placeholders_of_a_machine_spec_name_nothing() -> None:
    spec = AzureMachine(vnet_name=ConfigVar("<your-vnet>"), tenant_id=ConfigVar("<your-tenant>"))
    assert (place(spec).vnet, place(spec).tenant) == ("", "")


def test_annotations_name_consent_and_identity() -> None:
    made = cluster()
    named = replace(
        made, metadata=replace(made.metadata, annotations={ACCEPT_TERMS: "a:b:c, d:e:f", IDENTITY: "/i"})
    )
    found = settings(named, {"AZURE_SUBSCRIPTION_ID": "S"})
    assert found.accepted == ("a:b:c", "d:e:f") and found.identity == "/i"


CLIENT = {"AZURE_TENANT_ID": "11111111-1111-1111-1111-111111111111", "AZURE_CLIENT_ID": "c"}


def test_a_secret_makes_a_service_principal_and_is_shown_nowhere() -> None:
    environment = {**CLIENT, "AZURE_CLIENT_SECRET": "s3cret"}
    found = credential(place(**environment), environment)
    assert isinstance(found, ClientSecretCredential)
    assert "s3cret" not in repr(found) + repr(place(**environment))


def test_a_token_file_makes_a_workload_identity(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("eyJ")
    environment = {**CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
    assert isinstance(credential(place(**environment), environment), WorkloadIdentityCredential)


def test_a_machine_spec_s_client_goes_before_the_environment_s() -> None:
    spec = AzureMachine(client_id=ConfigVar("m"), client_secret=ConfigVar("m-s3cret"))
    environment = {**CLIENT, "AZURE_CLIENT_SECRET": "s3cret"}
    found = credential(place(spec, **environment), environment)
    assert isinstance(found, ClientSecretCredential) and found._client_id == "m"
    assert "m-s3cret" not in repr(place(spec, **environment))


def test_without_any_of_them_it_is_az_and_then_the_machine_s_identity() -> None:
    found = credential(place(), {})
    assert isinstance(found, ChainedTokenCredential)
    assert [type(one).__name__ for one in found.credentials] == [
        "AzureCliCredential",
        "ManagedIdentityCredential",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere.pem", "/nowhere.pem"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", __file__, "PEM or PKCS12"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/nowhere.jwt", "/nowhere.jwt"),
        ("AZURE_TENANT_ID", "not/a/tenant", "Invalid tenant ID"),
    ],
)
def test_credentials_that_cannot_be_any_are_refused_with_what_to_look_at(
    variable: str, value: str, why: str
) -> None:
    environment = {**CLIENT, variable: value}
    with pytest.raises(Refused, match="the Azure credentials cannot be used") as said:
        credential(place(**environment), environment)
    assert why in said.value.why and "AZURE_TENANT_ID" in said.value.next
