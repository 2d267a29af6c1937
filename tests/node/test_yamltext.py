"""The YAML that nodes get reads back as what was meant, whatever the texts look like."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from flatyard.node.yamltext import document, documents

_TEXTS = st.one_of(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\x7f\x85\ufeff\ufffe\uffff"),
        max_size=12,
    ),
    st.sampled_from(
        ["true", "NO", "null", "~", "1", "0x1", "1e3", "a: b", "- x", "#c", "@x", "2024-01-01", "", " x", "."]
    ),
)
_VALUES = st.recursive(
    _TEXTS | st.integers(-(2**40), 2**40) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXTS, _VALUES, min_size=1, max_size=5))
def test_what_is_written_reads_back(value: dict[str, object]) -> None:
    text = document(value)  # type: ignore[arg-type]
    assert yaml.safe_load(text) == value


def test_several_documents_are_told_apart() -> None:
    assert list(yaml.safe_load_all(documents([{"a": 1}, {"b": ["x", {"c": {}}]}]))) == [
        {"a": 1},
        {"b": ["x", {"c": {}}]},
    ]
