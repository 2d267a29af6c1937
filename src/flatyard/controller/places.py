"""Where this machine keeps what its background process of a cluster needs, below the state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flatyard.store.location import state_directory


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one cluster; all are readable by their owner alone."""

    state: Path
    name: str

    @property
    def run(self) -> Path:
        """The run file, locked by the living process (`controller.runfile`)."""
        return self.state / "run" / f"{self.name}.json"

    @property
    def folder(self) -> Path:
        return self.state / "sim" / self.name

    @property
    def disk(self) -> Path:
        """The simulated account and cluster; clusters that are not simulated have none."""
        return self.folder / "disk.sqlite"

    @property
    def cluster(self) -> Path:
        """The Cluster that the first process was started for, as JSON."""
        return self.folder / "cluster.json"

    @property
    def log(self) -> Path:
        """What the background process has to say."""
        return self.folder / "log"

    @property
    def timing(self) -> Path:
        """What was measured of its machines (`controller.measuring`)."""
        return self.folder / "timing.jsonl"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"


def places_of(name: str) -> Places:
    """The places of the cluster called `name`, in this user's state directory."""
    return Places(state_directory(), name)
