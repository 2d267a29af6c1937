"""A request, its answer, and the paths that are no resource's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .models import content
from .world import Body

if TYPE_CHECKING:
    from .app import Arm


@dataclass
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes = b""
    base: str = "https://127.0.0.1:5443"
    principal: str = ""

    def json(self) -> Body:
        try:
            found = json.loads(self.raw or b"null")
        except ValueError as problem:
            raise content(f"the body is no JSON: {problem}", "") from None
        if not isinstance(found, dict):
            raise content("the body is no JSON object", "")
        return found


@dataclass
class Answer:
    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    plain: bytes | None = None


Special = Callable[["Arm", Request, "re.Match[str]"], Answer]
SPECIAL: list[tuple[str, re.Pattern[str], str, Special]] = []


def special(method: str, pattern: str, action: str) -> Callable[[Special], Special]:
    """A path that is no resource's; `action` is what a role must allow."""

    def keep(call: Special) -> Special:
        SPECIAL.append((method, re.compile(pattern + "/?", re.IGNORECASE), action, call))
        return call

    return keep
