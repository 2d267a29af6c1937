"""Each rule of the emulator has a source and a test of its name."""

from __future__ import annotations

import ast
from pathlib import Path

from emulators.azure.arm.rules import RULES

HERE = Path(__file__).parent


def named() -> set[str]:
    found = set()
    for file in HERE.glob("test_*.py"):
        found |= {
            node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)
        }
    return found


def test_every_rule_has_a_source_and_a_test() -> None:
    assert [rule for rule, (words, source) in RULES.items() if not words or not source] == []
    missing = {rule for rule in RULES if "test_" + rule.replace("-", "_") not in named()}
    assert missing == set()
