"""Guided fuzzing of the fast tier runs where `--fuzz-seconds` asks for it."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fuzz-seconds"):
        return
    unasked = [
        item for item in items if getattr(item, "originalname", "") == "test_guided_for_as_long_as_asked_for"
    ]
    config.hook.pytest_deselected(items=unasked)
    items[:] = [item for item in items if item not in unasked]
