"""Whatever a file holds, reading it gives documents or InvalidInput with places, and nothing else."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.base.errors import InvalidInput
from flatyard.model.documents import read

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
WHOLE = [(EXAMPLES / name).read_text() for name in ("quickstart.yaml", "azure-sysext.yaml", "vsphere.yaml")]
WORDS = st.sampled_from(
    [
        "~",
        "[]",
        "{}",
        "'x'",
        "-1",
        "1.5",
        "yes",
        "[1, {a: b}]",
        "!!binary x",
        "<x>",
        "0%",
        "v9.9.9",
        "1e999",
        "*node",
        "",
    ]
)


def reads_or_refuses(text: str | bytes, name: str = "f.yaml") -> None:
    try:
        documents = read([(name, text)])
    except InvalidInput as error:
        assert error.problems
        assert all(problem.position is not None for problem in error.problems)
    else:
        assert all(problem.position is not None for problem in documents.warnings)


@given(st.text() | st.binary(), st.sampled_from(["f.yaml", "f.json"]))
@settings(max_examples=200, deadline=None)
def test_any_text(text: str | bytes, name: str) -> None:
    reads_or_refuses(text, name)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_examples_with_values_replaced(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(WHOLE)).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[index].partition(": ")
        lines[index] = f"{key}{colon}{data.draw(WORDS)}" if colon else f"{key} {data.draw(WORDS)}"
    reads_or_refuses("\n".join(lines))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_examples_with_pieces_cut_out(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(WHOLE))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 80)))
    reads_or_refuses(text[:start] + text[end:])
