"""Resource ids: what a path names. Compared in lower case, kept as they were written first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """A path below the endpoint. `kind` is the full type (`Microsoft.Network/virtualNetworks/subnets`), `names` the
    names along it; `collection`: the last type has no name. `scope` is what stands before the last `/providers/`.
    """

    raw: str
    scope: str
    kind: str
    names: tuple[str, ...]
    collection: bool

    @property
    def key(self) -> str:
        return self.raw.lower()

    @property
    def name(self) -> str:
        return self.names[-1] if self.names else ""

    @property
    def group(self) -> str:
        return group_of(self.raw)

    @property
    def parent(self) -> str:
        """The id that it hangs below: the outer resource, or the scope."""
        if len(self.names) > (0 if self.collection else 1):
            return self.raw.rsplit("/", 1 if self.collection else 2)[0]
        return self.scope


def parse(raw: str) -> Path:
    raw = "/" + raw.strip("/")
    scope, found, rest = _partition(raw)
    if not found:
        return Path(raw, raw, "", (), False)
    words = rest.split("/")
    types = words[1::2]
    names = words[2::2]
    return Path(raw, scope, "/".join((words[0], *types)), tuple(names), len(types) > len(names))


def _partition(raw: str) -> tuple[str, bool, str]:
    """At the last `/providers/` that stands where the keyword may stand."""
    at = raw.lower().rfind("/providers/")
    if at < 0:
        return raw, False, ""
    return raw[:at], True, raw[at + len("/providers/") :]


def group_of(raw: str) -> str:
    words = raw.strip("/").split("/")
    if len(words) >= 4 and words[2].lower() == "resourcegroups":
        return words[3]
    return ""
