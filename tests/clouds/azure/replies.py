"""As much of an answer of Azure's as its SDK reads for an exception."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Reply:
    """As much of a reply as azure-core reads for an exception."""

    status_code: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = "because"
    content_type: str = "application/json"

    def text(self) -> str:
        return self.body
