"""What a text may cost in memory before it is refused."""

from __future__ import annotations

import tracemalloc

from flatyard.decode import json_front

MB = 1 << 20


def test_lines_of_a_json_text_are_counted_in_little_memory():
    """The starts of 16 million empty lines took 700 MB."""
    text = "\n" * MB
    tracemalloc.start()
    reading = json_front.read(text, "f.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MB
    assert (
        str(reading.problems[0]) == f"f.json:{MB + 1}:1: error: not JSON: empty; one JSON value was expected"
    )
