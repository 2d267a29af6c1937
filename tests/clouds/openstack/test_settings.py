"""Which account is meant: what is written, then the environment, as the openstack command reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flatyard.base.errors import Refused
from flatyard.base.world import RealWorld
from flatyard.clouds.cloud import NoAccount
from flatyard.clouds.openstack import cloud, credentials
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.openstack.settings import _VARIABLES, OpenstackSettings, settings
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meta import ObjectMeta

CREDENTIAL = {
    "OS_AUTH_URL": "https://js2.jetstream-cloud.org:5000/v3",
    "OS_APPLICATION_CREDENTIAL_ID": "id-of-it",
    "OS_APPLICATION_CREDENTIAL_SECRET": "secret-of-it",
    "OS_REGION_NAME": "IU",
}


def a_cluster(machine: OpenstackMachine | None = None, **words: str) -> model.Cluster:
    return model.Cluster(
        metadata=ObjectMeta(name="prod"),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(openstack=model.OpenstackCloud(**words)),
            control_plane=model.ControlPlane(replicas=1, machine=machine or OpenstackMachine()),
        ),
    )


def test_an_application_credential_of_the_environment_is_taken_and_asks_for_no_scope() -> None:
    found = settings(a_cluster(), {**CREDENTIAL, "OS_PROJECT_NAME": "TG-1", "OS_USERNAME": "me"})
    assert (found.application_credential_id, found.region) == ("id-of-it", "IU")
    assert (found.project_name, found.username) == ("", "")
    words = credentials._words(found)
    assert words["auth_type"] == "v3applicationcredential"
    assert set(words["auth"]) == {"auth_url", "application_credential_id", "application_credential_secret"}


def test_a_named_entry_keeps_the_environments_login_out() -> None:
    found = settings(a_cluster(cloud="lab"), CREDENTIAL)
    assert found == OpenstackSettings(cloud="lab", region="IU")


def test_what_the_machine_spec_says_beats_the_environment() -> None:
    machine = OpenstackMachine(
        identity_endpoint=ConfigVar("https://other/v3"),
        username=ConfigVar("robot"),
        password=ConfigVar("hidden"),
        tenant_name=ConfigVar("team"),
    )
    found = settings(a_cluster(machine), {"OS_AUTH_URL": "https://wrong/v3", "OS_DOMAIN_NAME": "Default"})
    assert (found.auth_url, found.username, found.project_name) == ("https://other/v3", "robot", "team")
    assert found.domain_name == "Default"


def test_placeholders_are_not_taken_for_a_login() -> None:
    machine = OpenstackMachine(username=ConfigVar("<USERNAME>"))
    assert settings(a_cluster(machine), {}).username == ""


def test_secrets_are_in_no_text() -> None:
    found = settings(a_cluster(), {**CREDENTIAL, "OS_PASSWORD": "hidden", "OS_TOKEN": "hidden"})
    assert "secret-of-it" not in repr(found) and "hidden" not in repr(found)


def test_without_credentials_it_says_what_to_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    monkeypatch.setattr(credentials, "CONFIG_FILES", [])
    with pytest.raises(Refused, match="there are no credentials for OpenStack") as said:
        credentials.region(OpenstackSettings())
    assert "OS_CLOUD" in said.value.next


ENTRY = "{auth: {auth_url: 'https://nowhere.test', username: me, password: hunter2}}"


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ("clouds: [1, 2\n", "clouds.yaml has no entries", "not the YAML of a clouds.yaml"),
        ("", "clouds.yaml has no entries", "it is empty"),
        ("clouds:\n  lab: 3\n", "clouds.yaml has no entries", ""),
        (
            f"clouds:\n  lab: {ENTRY}\n  home: {ENTRY}\n",
            "none of the entries of clouds.yaml is chosen",
            "it has: home, lab",
        ),
    ],
)
def test_a_clouds_yaml_that_says_nobody_is_told_with_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, what: str, why: str
) -> None:
    written = tmp_path / "clouds.yaml"
    written.write_text(text)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(written))
    monkeypatch.setattr(credentials, "CONFIG_FILES", [])
    with pytest.raises(Refused) as said:
        credentials.region(OpenstackSettings())
    assert said.value.what.endswith(what) and why in said.value.why and said.value.next
    assert not isinstance(said.value, NoAccount), "plan would go on without an account"


def test_a_region_that_the_entry_has_not_is_told_with_those_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clouds.yaml").write_text(f"clouds:\n  lab: {ENTRY[:-1]}, region_name: IU}}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with pytest.raises(Refused) as said:
        credentials.region(OpenstackSettings(cloud="lab", region="UI"))
    assert (said.value.what, said.value.why) == (
        "entry lab of clouds.yaml has no region 'UI'",
        "it has: IU",
    )


def test_the_only_entry_of_clouds_yaml_need_not_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clouds.yaml").write_text(f"clouds:\n  lab: {ENTRY}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    assert credentials.region(OpenstackSettings()).name == "lab"


def test_clouds_yaml_is_read_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "clouds.yaml"
    written.write_text(
        "clouds:\n  lab:\n    region_name: IU\n    auth_type: v3applicationcredential\n    auth:\n"
        "      auth_url: https://js2/v3\n      application_credential_id: a\n"
        "      application_credential_secret: b\n"
    )
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(written))
    made = cloud.connect(a_cluster(cloud="lab"), RealWorld())
    assert made.client.sdk.config.get_region_name() == "IU"
    with pytest.raises(Refused, match=r"clouds\.yaml has no entry 'lap'") as said:
        credentials.region(OpenstackSettings(cloud="lap"))
    assert said.value.why == "it has: lab"


PASSWORD = {
    "OS_AUTH_URL": "https://keystone.example:5000/v3",
    "OS_USERNAME": "me",
    "OS_PASSWORD": "pass",
    "OS_PROJECT_NAME": "research",
}


def login(environment: dict[str, str]) -> dict[str, str]:
    words = credentials._words(settings(a_cluster(), environment))["auth"]
    assert isinstance(words, dict)
    return words


def test_user_and_project_may_be_of_different_domains() -> None:
    """Users of a directory (LDAP, a federation) are in a domain of their own, projects are not."""
    said = login({**PASSWORD, "OS_USER_DOMAIN_NAME": "people", "OS_PROJECT_DOMAIN_ID": "default"})
    assert (said["user_domain_name"], said["project_domain_id"]) == ("people", "default")
    assert "project_domain_name" not in said and "user_domain_id" not in said


def test_one_domain_is_both_and_none_is_the_first() -> None:
    both = login({**PASSWORD, "OS_USER_DOMAIN_NAME": "people"})
    assert (both["user_domain_name"], both["project_domain_name"]) == ("people", "people")
    first = login(PASSWORD)
    assert (first["user_domain_id"], first["project_domain_id"]) == ("default", "default")


def test_a_user_may_be_given_by_id() -> None:
    found = {name: value for name, value in PASSWORD.items() if name != "OS_USERNAME"}
    assert login({**found, "OS_USER_ID": "u-1"})["user_id"] == "u-1"


def test_an_application_credential_may_be_given_by_name_and_user() -> None:
    said = login(
        {
            **PASSWORD,
            "OS_APPLICATION_CREDENTIAL_NAME": "flatyard",
            "OS_APPLICATION_CREDENTIAL_SECRET": "secret",
            "OS_USER_DOMAIN_NAME": "people",
        }
    )
    assert said["application_credential_name"] == "flatyard" and said["username"] == "me"
    assert not {"project_name", "password", "project_domain_name"} & set(said)


def test_the_only_entry_of_clouds_yaml_keeps_its_domains() -> None:
    assert not [key for key in login({}) if "domain" in key]


def test_what_a_login_is_made_of_goes_to_the_controller_too() -> None:
    """The background controller gets the facts' variables and no others."""
    asked = {name for names in _VARIABLES.values() for name in names}
    login = FACTS.login
    known = {*login.variables, *login.paths, *(file.variable for file in login.files)}
    assert asked - known <= {"OS_REGION_NAME", "OS_INTERFACE"}, "these say where, not who"
