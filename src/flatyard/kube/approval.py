"""Approving and denying certificate signing requests: the `approval` subresource of CertificateSigningRequest.

What is decided stands in the status as a condition `Approved` or `Denied`; only this subresource writes them, one
excludes the other, and neither is ever taken back (kube-apiserver, pkg/registry/certificates/certificates and
pkg/apis/certificates/validation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flatyard.kube.api import APPROVED, DENIED, Json, Object, Verdict

_AT = "status.conditions"
Problem = tuple[str, str, str]
"""A field, the reason why it is refused (a metav1.CauseType), and what is said about it."""


def decision(request: Object) -> str:
    """`Approved`, `Denied`, or empty while nobody has decided."""
    return next((kind for kind in (DENIED, APPROVED) if _of_type(_conditions(request.raw), kind)), "")


def with_verdict(request: Object, verdict: Verdict) -> Json:
    """The request with the verdict among its conditions; as it is where the same was decided before."""
    raw = request.edit()
    status: Json = raw.get("status") or {}
    conditions: list[Json] = status.get("conditions") or []
    if not _of_type(conditions, verdict.type):
        condition = {
            "type": verdict.type,
            "status": "True",
            "reason": verdict.reason,
            "message": verdict.message,
        }
        conditions = [*conditions, condition]
    return {**raw, "status": {**status, "conditions": conditions}}


def carry_over(old: Object, new: Json, stamp: str) -> None:
    """Let a write of the approval change the conditions alone, and date those that are new."""
    conditions = [_dated(old, condition, stamp) for condition in _conditions(new)]
    status = {key: value for key, value in old.status.items() if key != "conditions"}
    new["status"] = {**status, "conditions": conditions} if conditions else status


def problems(old: Object, new: Json, subresource: str) -> Iterator[Problem]:
    """Why a write of the conditions is refused."""
    before, after = _conditions(old.raw), _conditions(new)
    for kind in (APPROVED, DENIED):
        was, now = _of_type(before, kind), _of_type(after, kind)
        if len(now) < len(was):
            yield (
                _AT,
                "FieldValueForbidden",
                f'Forbidden: updates may not remove a condition of type "{kind}"',
            )
        elif subresource != "approval" and len(now) > len(was):
            yield _AT, "FieldValueForbidden", f'Forbidden: updates may not add a condition of type "{kind}"'
    yield from _contradictions(after)


def _contradictions(conditions: Sequence[Json]) -> Iterator[Problem]:
    seen: list[object] = []
    for index, condition in enumerate(conditions):
        kind, at = condition.get("type"), f"{_AT}[{index}]"
        if kind in seen:
            yield f"{at}.type", "FieldValueDuplicate", f'Duplicate value: "{kind}"'
        if kind in (APPROVED, DENIED) and condition.get("status") != "True":
            yield f"{at}.status", "FieldValueNotSupported", 'Unsupported value: supported values: "True"'
        seen.append(kind)
        if kind in (APPROVED, DENIED) and APPROVED in seen and DENIED in seen:
            why = f'Invalid value: "{kind}": Approved and Denied conditions are mutually exclusive'
            yield f"{at}.type", "FieldValueInvalid", why


def _dated(old: Object, condition: Json, stamp: str) -> Json:
    same = [c for c in _of_type(_conditions(old.raw), condition.get("type")) if _status_of(c, condition)]
    since = same[0].get("lastTransitionTime") if same else None
    dates = {"lastUpdateTime": stamp, "lastTransitionTime": since or stamp}
    return {**dates, **{key: value for key, value in condition.items() if value is not None}}


def _status_of(one: Json, other: Json) -> bool:
    return bool(one.get("status") == other.get("status"))


def _of_type(conditions: Sequence[Json], kind: object) -> list[Json]:
    return [condition for condition in conditions if condition.get("type") == kind]


def _conditions(raw: Json) -> list[Json]:
    found: list[Json] = (raw.get("status") or {}).get("conditions") or []
    return found
