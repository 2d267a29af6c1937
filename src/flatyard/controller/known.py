"""A cluster's objects as its reconcilers last saw them: what can be told while its API does not answer."""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.engine.caches import Caches
from flatyard.kube.api import Object
from flatyard.kube.resources import Resource


@dataclass(slots=True)
class Known:
    """The caches of the last engine that saw the cluster; they stay readable when it has stopped."""

    name: str
    _caches: Caches | None = None

    def learn(self, caches: Caches) -> None:
        """Keep these instead of the former ones; an engine that never reached the API saw nothing."""
        if caches.cluster(self.name) is not None:
            self._caches = caches

    def objects(self, resource: Resource) -> tuple[Object, ...]:
        """All objects of a kind as they were last seen; none of kinds that nobody watches."""
        return tuple(self._caches.items(resource)) if self._caches else ()
