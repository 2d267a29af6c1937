"""How a cluster stands, as its background process tells it and `status` and `get` show it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from flatyard.controller.events import WaitLine
from flatyard.kube.api import Json, Object


@dataclass(frozen=True, slots=True)
class State:
    """A cluster with its objects; `phase` is that of the engine's record, empty before the first intent."""

    name: str
    id: str
    phase: str
    twin: str
    region: str
    speed: float
    server: str
    """Where its Kubernetes API answers on this machine."""
    endpoint: str
    """The name that its nodes use."""
    flatcar: str
    api: bool
    """The Kubernetes API answers."""
    waits: tuple[WaitLine, ...]
    clusters: tuple[Object, ...]
    deployments: tuple[Object, ...]
    machines: tuple[Object, ...]
    nodes: tuple[Object, ...]
    stand_in: bool = False
    """The machines are of a stand-in for Flatcar."""
    simulated: bool = True

    def encode(self) -> bytes:
        fields: Json = {name: getattr(self, name) for name in self.__slots__}
        for name in _OBJECTS:
            fields[name] = [object.raw for object in fields[name]]
        fields["waits"] = [asdict(wait) for wait in self.waits]
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: str | bytes) -> State:
        fields = json.loads(text)
        for name in _OBJECTS:
            fields[name] = tuple(Object(raw) for raw in fields[name])
        fields["waits"] = tuple(WaitLine(**wait) for wait in fields["waits"])
        return cls(**fields)


_OBJECTS = ("clusters", "deployments", "machines", "nodes")
