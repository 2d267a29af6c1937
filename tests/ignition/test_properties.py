"""What holds for any config: merging, writing and reading, lifting, fitting; and for data URLs of any bytes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import runpy
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard import ignition
from flatyard.ignition import dataurl, schema, types
from flatyard.ignition.fit import TooLarge, fit, inline
from flatyard.ignition.merge import merge, merge_all
from flatyard.ignition.parse import parse, read, up_translate
from flatyard.ignition.report import is_fatal
from flatyard.ignition.schema import Field, Kind
from flatyard.ignition.spec import STABLE, minor
from flatyard.ignition.types import Config, Resource
from flatyard.ignition.validate import validate

VERSION = "3.6.0"
FEW = settings(max_examples=60, deadline=None, derandomize=True)

# ---- any config, without what makes merging depend on the order of merging

WORDS = st.sampled_from(["a", "b"])
POOLS: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    # Directories, files and links share their names: a node that changes its kind twice loses what came before.
    (types.Directory, "path"): WORDS.map("/directories/{}".format),
    (types.File, "path"): WORDS.map("/files/{}".format),
    (types.Link, "path"): WORDS.map("/links/{}".format),
    # An argument that changes sides twice moves to the end of its list.
    (types.KernelArguments, "should_exist"): st.lists(
        WORDS.map("present={}".format), max_size=3, unique=True
    ),
    (types.KernelArguments, "should_not_exist"): st.lists(
        WORDS.map("absent={}".format), max_size=3, unique=True
    ),
    # A header without a value removes the one before it, or stays where there is none.
    (types.HttpHeader, "value"): WORDS,
    (types.Partition, "number"): st.integers(1, 3),
    (types.Ignition, "version"): st.just(VERSION),
}
KEYS: dict[type, str] = {
    types.Disk: "device",
    types.Partition: "number",
    types.Filesystem: "device",
    types.Resource: "source",
    types.Tang: "url",
    types.Directory: "path",
    types.File: "path",
    types.Link: "path",
}
"""What tells the entries of a list apart; the name, where it is not here."""
ALWAYS = frozenset(("path", "device", "name", "url", "source", "number", "version", "ignition", "value"))


def structs(cls: type, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Values of one class of `ignition.types`, their scalars often left out."""
    values = {f.attr: field_values(cls, f, texts) for f in schema.fields(cls)}
    left_out = {f.attr for f in schema.fields(cls) if f.nullable and f.attr not in ALWAYS}
    each = {attr: st.none() | made if attr in left_out else made for attr, made in values.items()}
    return st.builds(cls, **each)


def field_values(cls: type, field: Field, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    pool = POOLS.get((cls, field.attr))
    if field.kind is Kind.STRINGS:
        return (st.lists(texts, max_size=2, unique=True) if pool is None else pool).map(tuple)
    if field.kind is Kind.STRUCTS:
        assert field.struct is not None
        key = KEYS.get(field.struct, "name")
        return st.lists(
            structs(field.struct, texts), max_size=2, unique_by=lambda item: getattr(item, key)
        ).map(tuple)
    if field.kind is Kind.STRUCT:
        assert field.struct is not None
        return structs(field.struct, texts)
    plain = {Kind.STRING: texts, Kind.INTEGER: st.integers(0, 4), Kind.BOOLEAN: st.booleans()}
    return plain[field.kind] if pool is None else pool


CONFIGS = structs(Config, WORDS)
WILD = structs(Config, st.text(max_size=8))
NOTHING = ignition.config(version=VERSION)
FUZZ = Path(__file__).parent.parent / "fuzz"
CHANGES = runpy.run_path(str(FUZZ / "mutate.py"))["Mutator"]
NAMES = runpy.run_path(str(FUZZ / "targets.py"))
DOCUMENTS, REQUIRED_LATER = list(NAMES["seeds"]("ignition")), NAMES["REQUIRED_LATER"]


@given(CONFIGS, CONFIGS, CONFIGS)
@FEW
def test_merging_three_configs_does_not_depend_on_which_two_come_first(one, two, three):
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == merge_all((one, two, three))


def header(value: str | None) -> Config:
    source = Resource("", (types.HttpHeader("a", value),), "https://a")
    return ignition.config(files=[replace(ignition.file("/a", ""), contents=source)], version=VERSION)


def argument(**lists: tuple[str, ...]) -> Config:
    return replace(NOTHING, kernel_arguments=types.KernelArguments(**lists))


NOT_ASSOCIATIVE: dict[str, tuple[Config, Config, Config]] = {
    "a header that is removed twice": (header("x"), header(None), header(None)),
    "a node that changes its kind twice": (
        ignition.config(files=[ignition.file("/a", "x", mode=0o600)], version=VERSION),
        ignition.config(directories=[ignition.directory("/a")], version=VERSION),
        ignition.config(files=[types.File(path="/a")], version=VERSION),
    ),
    "an argument that changes sides twice": (
        argument(should_exist=("a", "b")),
        argument(should_not_exist=("a",)),
        argument(should_exist=("a",)),
    ),
}


@pytest.mark.parametrize("name", NOT_ASSOCIATIVE)
def test_merging_three_configs_depends_on_the_order_where_the_reference_does(name):
    """If one of these becomes associative, the strategies above leave out too much."""
    one, two, three = NOT_ASSOCIATIVE[name]
    assert merge(merge(one, two), three) != merge(one, merge(two, three))


@given(WILD)
@FEW
def test_nothing_laid_over_a_config_and_a_config_over_nothing_are_the_config(config):
    assert merge(config, NOTHING) == config == merge(NOTHING, config)


@given(CONFIGS)
@FEW
def test_a_config_laid_over_itself_is_itself_but_for_lists_that_are_appended(config):
    assert merge(merge(config, config), NOTHING) == merge(config, config)
    appended = replace(config, storage=types.Storage(directories=config.storage.directories))
    assert merge(appended, appended) == appended


@given(WILD)
@FEW
def test_what_is_written_reads_as_the_same_config(config):
    text = ignition.encode(config)
    again = parse(text)
    assert again.config == config
    assert again.report == ()
    assert ignition.encode(again.config) == text
    assert parse(ignition.encode_pretty(config)).config == config


@given(st.sampled_from(DOCUMENTS), st.lists(st.integers(0, 2**32), max_size=3), st.sampled_from(STABLE))
@settings(FEW, max_examples=200)
def test_a_valid_config_stays_valid_in_a_newer_spec_but_for_what_that_requires(text, changes, newer):
    for seed in changes:
        text = CHANGES(seed, ["mode", "path", "name"]).change(text, 10_000)
    config = read(text).config
    if config is None or is_fatal(validate(config)) or minor(config.ignition.version) > minor(newer):
        return
    lifted = up_translate(config, newer)
    assert {entry.message for entry in validate(lifted) if entry.severity == "error"} <= REQUIRED_LATER
    assert parse(ignition.encode(lifted)).config == lifted


@pytest.mark.parametrize(
    ("version", "newer", "rest", "said"),
    [
        ("3.0.0", "3.1.0", '"ignition":{"version":"3.0.0","config":{"merge":[{}]}}', "source is required"),
        ("3.2.0", "3.3.0", '"storage":{"links":[{"path":"/a"}]}', "link target is required"),
    ],
)
def test_what_a_newer_spec_requires_makes_a_lifted_config_invalid(version, newer, rest, said):
    """Found by fuzzing: valid as it is written, and refused by Ignition only when it is merged."""
    text = rest if "version" in rest else f'"ignition":{{"version":"{version}"}},{rest}'
    config = read(f"{{{text}}}".encode()).config
    assert config is not None and not is_fatal(validate(config))
    assert [entry.message for entry in validate(up_translate(config, newer))] == [said]


# ---- fitting


@given(WILD, st.booleans())
@FEW
def test_user_data_holds_the_config_or_points_at_it_by_its_hash(config, gzip_allowed):
    text = ignition.encode(config)
    stashed: dict[str, bytes] = {}

    async def stash(payload: bytes, sha512: str) -> str:
        stashed[sha512] = payload
        return "s3://b/k"

    for limit in (None, len(text), len(text) - 1, len(text) // 2, 300):
        try:
            data = asyncio.run(fit(config, limit, gzip_allowed=gzip_allowed, stash=stash))
        except TooLarge as refusal:
            assert refusal.limit == limit and refusal.size > refusal.limit
            continue
        assert limit is None or len(data.data) <= limit
        if data.is_stub:
            assert data.payload == text == stashed[data.sha512]
            assert hashlib.sha512(text).hexdigest() == data.sha512
            reference = parse(data.data).config
            assert reference is not None
            assert reference.ignition.config.replace.verification.hash == f"sha512-{data.sha512}"
        else:
            plain = data.data if data.data[:1] == b"{" else dataurl.decompress(data.data)
            assert plain == text
            assert data.data == inline(config, limit, gzip_allowed=gzip_allowed)


# ---- data URLs


@given(st.binary(max_size=3000) | st.binary(max_size=20).map(lambda data: data * 100))
@settings(FEW, max_examples=200)
def test_any_bytes_come_back_from_a_data_url_whatever_form_it_takes(data):
    assert dataurl.decode(dataurl.encode(data)) == data
    assert dataurl.decode("data:," + dataurl.escape(data)) == data
    made = dataurl.inline(data)
    assert made.source is not None
    inside = dataurl.decode(made.source)
    assert made.compression in ("", "gzip")
    assert (dataurl.decompress(inside) if made.compression else inside) == data
    assert len(made.source) <= len(dataurl.encode(data))


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=4), st.integers(1, 9))
@FEW
def test_gzip_of_any_level_and_of_several_members_is_unpacked(pieces, level):
    packed = b"".join(gzip.compress(piece, level, mtime=0) for piece in pieces)
    assert dataurl.decompress(packed) == b"".join(pieces)
    assert gzip.decompress(dataurl.compress(packed)) == packed


@given(st.binary(min_size=1, max_size=300), st.data())
@FEW
def test_gzip_that_is_cut_or_changed_is_refused_or_the_same(data, draw):
    packed = dataurl.compress(data)
    cut = packed[: draw.draw(st.integers(0, len(packed) - 1))]
    with pytest.raises(dataurl.GzipError):
        dataurl.decompress(cut)
    at = draw.draw(st.integers(0, len(packed) - 1))
    changed = packed[:at] + bytes([packed[at] ^ (1 << draw.draw(st.integers(0, 7)))]) + packed[at + 1 :]
    with contextlib.suppress(dataurl.GzipError):
        assert zlib.crc32(dataurl.decompress(changed)) == zlib.crc32(data)


@given(st.text(max_size=40) | st.text('data:;,base64=%/textA0"\\ \n', max_size=40))
@settings(FEW, max_examples=300)
def test_any_text_is_a_data_url_or_is_refused(text):
    for url in (text, f"data:{text}", f"data:text/plain;{text}", f"data:;base64,{text}"):
        try:
            assert isinstance(dataurl.decode(url), bytes)
        except dataurl.DataUrlError as problem:
            assert str(problem)
