"""What holds for any Butane config: Ignition takes what comes out, and findings stand where they can be shown."""

from __future__ import annotations

import runpy
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flatyard.butane import translate
from flatyard.ignition import encode
from flatyard.ignition.parse import read
from flatyard.ignition.validate import validate

FUZZ = Path(__file__).parent.parent / "fuzz"
NAMES = runpy.run_path(str(FUZZ / "targets.py"))
CHANGES = runpy.run_path(str(FUZZ / "mutate.py"))["Mutator"]
CONFIGS = list(NAMES["seeds"]("butane"))
KEYS = "storage systemd passwd files links units users path name contents inline local trees mode <<".split()
HEAD = "variant: flatcar\nversion: 1.1.0\n"


@given(st.sampled_from(CONFIGS), st.lists(st.integers(0, 2**32), max_size=4))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_what_translates_is_taken_by_ignition_as_the_same_config(text, changes):
    """Golden configs with a few lines changed."""
    for seed in changes:
        text = CHANGES(seed, KEYS).change(text, 10_000)
    made = translate(text, files=NAMES["FILES"])
    assert (made.config is None) == bool(made.error)
    if made.config is None:
        return
    found = read(encode(made.config))
    assert found.config == made.config
    assert [entry.severity for entry in found.report] == ["warning"] * len(found.report)
    assert [entry.message for entry in validate(made.config)] == [entry.message for entry in found.report]
    assert {entry.message for entry in found.report} <= {entry.message for entry in made.report}


@given(st.text(max_size=60) | st.text("a:-&*!<>|[]{}'\"%@# \n\t\\0", max_size=60) | st.binary(max_size=60))
@settings(max_examples=400, deadline=None, derandomize=True)
@example("\ufeff\ufeff")
@example("a: !!binary =")
def test_any_text_ends_in_a_config_or_a_reason(text):
    whole = HEAD.encode() + text if isinstance(text, bytes) else HEAD + text
    for document in (text, whole):
        made = translate(document)
        assert (made.config is None) == bool(made.error)
        assert all(entry.line and entry.column and str(entry) for entry in made.report)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_inline_comes_out_as_it_went_in(text):
    """As YAML's double quotes write it, whose escapes are JSON's and more."""
    quoted = "".join(f"\\U{ord(character):08X}" for character in text)
    made = translate(f'{HEAD}storage: {{files: [{{path: /a, contents: {{inline: "{quoted}"}}}}]}}\n')
    assert made.config is not None
    contents = made.config.storage.files[0].contents
    raw = NAMES["dataurl"].decode(contents.source)
    assert (NAMES["dataurl"].decompress(raw) if contents.compression else raw) == text.encode()
