"""YAML text → positioned nodes, with go-yaml's words for what is malformed.

go-yaml is a port of libyaml, so its findings are libyaml's; only the line it names differs.
"""

from __future__ import annotations

from yaml.error import MarkedYAMLError
from yaml.reader import ReaderError
from yaml.scanner import ScannerError

from flatyard.base.patterns import pattern
from flatyard.decode.node import Limits, Node
from flatyard.decode.yaml_front import events, read

LIMITS = Limits(depth=100, nodes=1_000_000, bytes=100 * 1024 * 1024)
EMPTY = Node("scalar", 1, 1, plain=True)
_DIRECTIVE = pattern(r"\A(?:[ \t]*+(?:#[^\n]*+)?\n|%(?!YAML)[^\n]*+\n)*+%YAML[ \t]+(?!1\.1(?:\s|\Z))")
_DIRECTIVE_WITHIN = 1 << 20  # a hundred megabytes of empty lines took 20 s and 1 GB to look through
_SYNTAX = ("not YAML", "control character")
_UNKNOWN_ANCHOR = pattern(r"no &(.*) stands before")
_RECURSIVE_ANCHOR = pattern(r"\*(.*) contains itself")


class YamlError(ValueError):
    """Text that is not YAML, or not the YAML that the config needs; the text is the reference's."""


def parse(text: bytes | str) -> Node:
    """The first document of a text; an empty text is a null.

    Raises YamlError.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            raise YamlError(_encoding_problem(problem)) from None
    text = text.removeprefix("\ufeff")
    if "%YAML" in text[:_DIRECTIVE_WITHIN] and _DIRECTIVE.match(text, 0, _DIRECTIVE_WITHIN):
        raise YamlError("yaml: found incompatible YAML document")
    reading = read(text, "", LIMITS)
    if reading.documents:
        return reading.documents[0]
    if reading.problems:
        raise YamlError(_explain(text, reading.problems[0].what))
    return EMPTY


def _encoding_problem(problem: UnicodeDecodeError) -> str:
    reasons = {
        "invalid start byte": "invalid leading UTF-8 octet",
        "unexpected end of data": "incomplete UTF-8 octet sequence",
    }
    return f"yaml: {reasons.get(problem.reason, 'invalid trailing UTF-8 octet')}"


def _explain(text: str, what: str) -> str:
    unknown, recursive = _UNKNOWN_ANCHOR.match(what), _RECURSIVE_ANCHOR.match(what)
    if unknown:
        return f"yaml: unknown anchor '{unknown[1]}' referenced"
    if recursive:
        return f"yaml: anchor '{recursive[1]}' value contains itself"
    if not what.startswith(_SYNTAX):
        return f"yaml: {what}"  # a limit: parsing on to the end is what it was there to avoid
    try:
        for _event in events(text):
            pass
    except ReaderError:
        return "yaml: control characters are not allowed"
    except MarkedYAMLError as problem:
        return _marked(problem)
    except UnicodeEncodeError:  # half a surrogate pair; what the decoder said stands
        pass
    return f"yaml: {what}"


def _marked(problem: MarkedYAMLError) -> str:
    marks = (problem.context_mark, problem.problem_mark)
    line = next((mark.line for mark in marks if mark is not None and mark.line), 0)
    if line and isinstance(problem, ScannerError):
        line += 1
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{problem.problem or 'unknown problem parsing YAML content'}"
