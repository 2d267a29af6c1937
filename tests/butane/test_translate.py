"""Butane as people use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flatyard import butane
from flatyard.butane import syntax
from flatyard.butane.mounts import escape_path
from flatyard.decode import Limits
from flatyard.ignition import encode
from flatyard.ignition.apply import apply
from flatyard.ignition.fetch import Fetched
from flatyard.ignition.tree import Tree

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes-sysext.bu"


def test_the_sysext_example_becomes_a_machine_s_files():
    result = butane.translate(EXAMPLE.read_bytes(), file=EXAMPLE.name)
    assert (result.report, result.error) == ((), "")
    assert result.config is not None and result.config.ignition.version == "3.3.0"
    remote = {file.contents: b"fetched" for file in result.config.storage.files}
    tree = Tree()
    apply(result.config, tree, Fetched(remote))
    assert tree.text("/etc/extensions/kubernetes.raw") == "fetched"
    assert tree.text("/etc/systemd/system-preset/20-ignition.preset") == "enable systemd-sysupdate.timer\n"
    dropin = tree.text("/etc/systemd/system/systemd-sysupdate.service.d/kubernetes.conf")
    assert dropin is not None and "systemd-sysupdate -C kubernetes update" in dropin
    mask = tree.lstat("/etc/systemd/system/locksmithd.service")
    assert mask is not None and mask.target == "/dev/null"


def test_problems_name_file_line_column_and_path():
    text = "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: a\n      contens: {}\n"
    problems = butane.translate(text, file="node.bu").problems
    assert [str(p) for p in problems] == [
        "node.bu:6:7: warning: $.storage.files.0.contens: unused key contens",
        "node.bu:5:13: error: $.storage.files.0.path: path not absolute",
    ]


def test_text_that_is_no_butane_is_one_problem_about_the_whole_file():
    (problem,) = butane.translate("a: [", file="node.bu").problems
    assert str(problem).startswith("node.bu:1:1: error: Error unmarshaling yaml: yaml:")


def test_versions_that_no_flatcar_reads_are_named():
    result = butane.translate("variant: fcos\nversion: 1.5.0\n")
    assert result.error == "No translator exists for variant fcos with version 1.5.0"


def test_a_local_path_never_leads_outside():
    text = "variant: flatcar\nversion: 1.1.0\nstorage: {trees: [{local: ../../etc}]}\n"

    class Nothing:
        def __getattr__(self, name: str):
            raise AssertionError(f"{name} was called for a path outside")

    result = butane.translate(text, files=Nothing())
    assert [e.message for e in result.report] == ["local file path traverses outside the files directory"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "-"), ("/var/lib/etcd", "var-lib-etcd"), ("/.a-b//c", "\\x2ea\\x2db-c"), ("/ä", "\\xc3\\xa4")],
)
def test_mount_units_are_named_as_systemd_names_them(path: str, name: str):
    assert escape_path(path) == name


def bomb(width: int = 10, depth: int = 9) -> str:
    lines = ["variant: flatcar", "version: 1.1.0", "a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        "[" * 10_000,
        "a: &a [*a]",
        "\x00",
        b"\xff\xfe\x00",
        b"variant: \xc3",
        "? [a]\n: b",
        "- " * 5000,
        "%YAML 1.2\n---\n",
    ],
)
def test_hostile_text_is_an_error_not_a_crash(text: str | bytes):
    result = butane.translate(text)
    assert result.config is None and result.error


HEAD = "variant: flatcar\nversion: 1.1.0\n"
keys = st.sampled_from(
    "storage systemd passwd files units users path contents inline mode name dropins filesystems device format "
    "with_mount_unit trees local links target hard luks clevis << &a *a ~ 0644 true [] {}".split()
)
line = st.tuples(st.integers(0, 4), st.sampled_from(["", "- "]), keys, st.sampled_from([":", ": ", ""]), keys)


@given(st.lists(line, max_size=8))
@example([(0, "", "storage", ": ", "~")])
def test_any_lines_give_a_config_or_a_reason(lines: list[tuple[int, str, str, str, str]]):
    text = HEAD + "".join(
        f"{'  ' * depth}{dash}{key}{colon}{value}\n" for depth, dash, key, colon, value in lines
    )
    result = butane.translate(text)
    assert (result.config is None) == bool(result.error)
    if result.config is not None:
        assert encode(result.config)


def test_a_limit_is_the_last_word_and_nothing_is_parsed_again(monkeypatch):
    """Found with endless input: after the refusal the whole text was parsed once more to explain it."""
    monkeypatch.setattr(syntax, "LIMITS", Limits(depth=100, nodes=1_000_000, bytes=1000))
    monkeypatch.setattr(syntax, "events", None)
    made = butane.translate("variant: flatcar\n" * 1000)
    assert "the text is longer than 1000 bytes" in str(made.error)


def test_a_unit_that_is_written_and_generated_is_the_user_s_in_findings():
    """Found beside the reference: two mount units of one name, and a unit of that name, were told as generated."""
    text = (
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  filesystems:\n"
        "    - {device: /dev/a, path: /x, format: ext4, with_mount_unit: true}\n"
        "    - {device: /dev/b, path: /x, format: ext4, with_mount_unit: true}\n"
    )
    generated = butane.translate(text).report
    written = butane.translate(text + "systemd:\n  units:\n    - {name: x.mount, enabled: false}\n").report
    at = "error at $.storage.filesystems.1.with_mount_unit, line 6 col 65: duplicate entry defined"
    assert [str(entry) for entry in generated] == [at]
    assert [str(e) for e in written] == ["error at $.systemd.units.0, line 9 col 7: duplicate entry defined"]


def test_findings_stand_in_the_reference_s_order():
    text = (
        "variant: flatcar\nversion: 1.1.0\n"
        "ignition: {config: {replace: {inline: a, local: a}, merge: [{inline: a, local: a}]}}\n"
        "storage:\n  files: [{path: /a, contents: {inline: a, local: a}, append: [{inline: a, source: b}]}]\n"
        "  luks: [{name: a, key_file: {inline: a, local: a}}]\n"
        "  filesystems: [{device: /dev/a, with_mount_unit: true}]\n"
    )
    assert [".".join(map(str, entry.path)) for entry in butane.translate(text).report] == [
        "ignition.config.merge.0.inline",
        "ignition.config.replace.inline",
        "storage.files.0.append.0.source",
        "storage.files.0.contents.inline",
        "storage.filesystems.0.format",
        "storage.luks.0.key_file.inline",
    ]
