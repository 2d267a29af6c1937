"""Commands that a command advises can be pasted as they stand."""

from __future__ import annotations

import pytest

from flatyard.cli.talk import as_called


@pytest.mark.parametrize(
    ("program", "text", "told"),
    [
        ("./flatyard", "flatyard up FILE goes on", "./flatyard up FILE goes on"),
        ("./flatyard", 'get -f "$(flatyard kubeconfig x)"', 'get -f "$(./flatyard kubeconfig x)"'),
        ("./flatyard", "see `flatyard rehearse --help`", "see `./flatyard rehearse --help`"),
        ("/opt/flatyard", "/srv/flatyard is a folder", "/srv/flatyard is a folder"),
        ("flatyard", "flatyard down x", "flatyard down x"),
    ],
)  # fmt: skip
def test_a_command_is_told_as_it_was_called(monkeypatch, program, text, told):
    monkeypatch.setenv("FLATYARD_PROGRAM", program)
    assert as_called(text) == told
