"""How Azure Resource Manager says no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ArmError(Exception):
    """An answer of the form {"error": {code, message, target, details}} (rules: error-envelope)."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.target, self.details, self.headers = target, list(details), dict(headers or {})

    def body(self) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return error


def not_found(name: str, group: str, kind: str) -> ArmError:
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found.",
    )


def invalid(code: str, message: str, target: str | None = None) -> ArmError:
    return ArmError(400, code, message, target=target)
