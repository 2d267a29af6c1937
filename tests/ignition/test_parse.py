"""What a user is told about an Ignition document, and what survives reading it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard.ignition import encode, jsontext
from flatyard.ignition.parse import parse, read, up_translate
from flatyard.ignition.spec import FLATCAR


def document(**sections: object) -> bytes:
    return json.dumps({"ignition": {"version": "3.4.0"}, **sections}).encode()


def test_raw_spec_2_is_refused_with_what_to_do():
    found = read(b'{"ignition":{"version":"2.3.0"}}').report
    assert [e.message for e in found] == ["unsupported config version"]
    assert "Butane" in found[0].hint


def test_a_release_reads_only_its_own_versions():
    text = b'{"ignition":{"version":"3.6.0"}}'
    assert read(text).is_valid
    assert not read(text, release=FLATCAR).is_valid


def test_null_and_explicit_empty_values_differ():
    given_empty = parse(document(passwd={"users": [{"name": "a", "shell": "", "uid": 0}]})).config
    absent = parse(document(passwd={"users": [{"name": "a", "shell": None}]})).config
    assert given_empty is not None and absent is not None
    assert (given_empty.passwd.users[0].shell, given_empty.passwd.users[0].uid) == ("", 0)
    assert absent.passwd.users[0].shell is None


def test_null_for_a_section_is_warned_about():
    (entry,) = parse(document(storage=None)).report
    assert str(entry).startswith("warning at $.storage, line 1 col 47: context tree does not match")


def test_duplicate_sections_are_laid_over_each_other_as_go_does():
    text = b'{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/a"}]},"storage":{}}'
    config = parse(text).config
    assert config is not None and [f.path for f in config.storage.files] == ["/a"]


def test_half_a_surrogate_pair_becomes_the_replacement_character():
    text = document().replace(b"}}", b'},"passwd":{"users":[{"name":"a\\ud800b"}]}}')
    config = parse(text).config
    assert config is not None and config.passwd.users[0].name == "a\ufffdb"


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\x00", b"\xff\xfe", b'"\\u12', b"-", b"1e"]
)
def test_hostile_text_is_an_error_not_a_crash(text: bytes):
    assert not read(text).is_valid


def test_what_has_more_values_than_a_config_is_worth_is_refused(monkeypatch):
    """Found with 15 MB of empty lists and one unknown key: the tree of places took 2 GB and 20 s."""
    monkeypatch.setattr(jsontext, "MOST_VALUES", 50)
    text = document(x=[[]] * 100)
    assert [entry.message for entry in read(text).report] == ["more than 50 values"]
    assert not read(text).is_valid


def test_special_bits_go_when_a_config_is_lifted_to_3_6():
    config = parse(document(storage={"files": [{"path": "/a", "mode": 0o4755}]})).config
    assert config is not None
    lifted = up_translate(config, "3.6.0")
    assert lifted.storage.files[0].mode == 0o755
    assert up_translate(lifted, "3.6.0") == lifted


@given(st.binary(max_size=200))
def test_any_bytes_give_findings(data: bytes):
    found = read(data)
    assert found.is_valid or found.report


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["ignition", "version", "storage", "files", "path", "systemd", "units", "name", "mode"]
                ),
                x,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_findings_and_valid_configs_survive_encoding(value: object):
    found = read(document(storage=value))
    if found.is_valid and found.config is not None:
        assert parse(encode(found.config)).config == found.config
