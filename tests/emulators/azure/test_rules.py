"""Each rule of the emulator has a source and a test of its name."""

from __future__ import annotations

import ast
from pathlib import Path

from emulators.azure.arm.codes import BY_ANALOGY, CODES, OWN
from emulators.azure.arm.rules import RULES
from flatyard.clouds.azure.answers import _PASSING, MISSING

HERE = Path(__file__).parent


def named() -> set[str]:
    found = set()
    for file in HERE.glob("test_*.py"):
        found |= {
            node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)
        }
    return found


def answered() -> set[str]:
    """Every text in the emulator that stands where a code does."""
    found = set()
    for file in (HERE / "arm").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"ArmError": 1, "invalid": 0}.get(node.func.id, len(node.args))
                for part in node.args[place : place + 1]:
                    found |= {n.value for n in ast.walk(part) if isinstance(n, ast.Constant)}
    return {text for text in found if isinstance(text, str) and text.isalnum()}


def test_every_code_is_quoted_by_somebody_or_is_told_apart() -> None:
    known = {*CODES, *BY_ANALOGY, *OWN}
    assert answered() - known == set()
    assert not {*CODES} & {*BY_ANALOGY} and all({**CODES, **BY_ANALOGY}.values())


def test_the_adapter_decides_nothing_by_a_code_that_nobody_quotes() -> None:
    for code in BY_ANALOGY:
        assert code not in _PASSING and code not in MISSING


def test_every_rule_has_a_source_and_a_test() -> None:
    assert [rule for rule, (words, source) in RULES.items() if not words or not source] == []
    missing = {rule for rule in RULES if "test_" + rule.replace("-", "_") not in named()}
    assert missing == set()
