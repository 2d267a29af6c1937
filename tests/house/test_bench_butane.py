"""The bench against the reference: that it compares the right things, and that it can fail. None of this needs Go."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from flatyard.butane import translate
from flatyard.ignition import dataurl

PLACE = Path(__file__).resolve().parent.parent.parent / "bench/butane.py"
SPEC = importlib.util.spec_from_file_location("bench_butane", PLACE)
assert SPEC and SPEC.loader
bench = sys.modules["bench_butane"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

LONG = b"- name: app\n  image: registry.example/app:1\n" * 9


def config(*contents: bytes, packed: bool = True) -> str:
    """A config as the reference's library gives it."""
    resources = [dataurl.inline(each) if packed else None for each in contents]
    files = [
        {"path": f"/{n}", "contents": {"source": r.source, "compression": r.compression}}
        if r
        else {"path": f"/{n}", "contents": {"source": dataurl.encode(contents[n]), "compression": ""}}
        for n, r in enumerate(resources)
    ]
    return json.dumps({"ignition": {"version": "3.4.0"}, "storage": {"files": files}})


def run(*rounds: tuple[float, ...]) -> object:
    return bench.Run(rounds, ())


def test_every_golden_case_that_translates_is_timed_on_the_files_of_the_checkout(tmp_path: Path):
    documents = bench.golden()
    assert len(documents) > 150 and len({each.name for each in documents}) == len(documents)
    bench.lay_out(tmp_path / "files")
    assert (tmp_path / "files/tree/oddmode/secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "files/tree/deep/dangling").is_symlink()
    for each in documents:
        _, output = bench.timed(each, tmp_path / "files")
        assert json.loads(output), each.name


def test_the_large_document_has_the_size_that_it_is_named_after():
    text = bench.large().encode()
    assert 155_000 < len(text) < 165_000
    result = translate(text)
    assert result.config is not None and not result.report
    assert len(result.config.storage.files) == 150
    assert len(result.config.systemd.units) == 100


def test_a_turn_s_warm_up_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "ROUNDS", 2)
    documents = [bench.Document("a", b"variant: flatcar\nversion: 1.1.0\n", files=False)]
    found = bench.joined([bench.ours(documents, tmp_path), bench.ours(documents, tmp_path)])
    assert len(found.rounds) == 4
    assert found.outputs == ('{"ignition":{"version":"3.4.0"}}',)


def test_medians_of_whole_rounds_are_compared():
    documents = [bench.Document("a", b""), bench.Document("b", b""), bench.Document(bench.LARGE, b"")]
    theirs, ours = run((3, 3, 60), (4, 2, 60), (90, 9, 600)), run((1, 1, 10), (1, 2, 12), (9, 9, 9))
    golden, large = bench.speed(documents, theirs, ours)
    assert golden.value == pytest.approx(3 / 6) and not golden.met
    assert large.value == pytest.approx(10 / 60) and large.met


def test_a_resource_that_came_out_larger_is_counted_on_whichever_side_it_is_compressed():
    small, large = config(LONG, b"x"), config(LONG, b"x", packed=False)
    assert [f.value for f in bench.sizes([small], [small])] == [0]
    assert [f.value for f in bench.sizes([large], [small])] == [0]
    (figure,) = bench.sizes([small], [large])
    assert figure.value == 1 and not figure.met


def test_the_form_of_bytes_may_differ_and_the_bytes_may_not():
    documents = [bench.Document("same", b""), bench.Document("other", b"")]
    theirs = [config(LONG), config(LONG)]
    ours = [config(LONG, packed=False), config(LONG + b"x")]
    assert bench.differing(documents, theirs, ours) == ["other"]


def test_a_figure_above_its_target_or_another_config_fails_the_bench():
    met, missed = bench.Figure("a", "", 1, 1), bench.Figure("b", "", 1.01, 1)
    assert "ABOVE" in str(missed) and "ABOVE" not in str(met)
    assert bench.verdict([met], []) == 0
    assert bench.verdict([met, missed], []) == 1
    assert bench.verdict([met], ["a"]) == 1


def test_without_go_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert bench.main() == 2
    assert "install Go" in capsys.readouterr().err


def test_nodes_differ_in_their_user_data():
    made = bench.renderer()(3)
    assert len(set(made)) == 3
    assert all(json.loads(each)["ignition"]["version"] for each in made)
