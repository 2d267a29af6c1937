"""vSphere: the fields of machine-controller's vsphere provider (pkg/cloudprovider/provider/vsphere/types)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, meta, shape
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class VsphereTag:
    """A tag attached to the virtual machine."""

    description: str = ""
    id: str = ""
    name: str = ""
    category_id: str = field(default="", metadata=meta("categoryID"))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class VsphereMachine:
    """One virtual machine, cloned from the imported Flatcar OVA. Empty place fields are filled from the cluster."""

    template_vm_name: ConfigVar = field(default=ConfigVar(), metadata=meta("templateVMName"))
    vm_net_name: ConfigVar = field(
        default=ConfigVar(), metadata=meta("vmNetName", doc="Deprecated; write networks.")
    )
    networks: tuple[ConfigVar, ...] = ()
    username: ConfigVar = ConfigVar()
    password: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    vsphere_url: ConfigVar = field(default=ConfigVar(), metadata=meta("vsphereURL"))
    allow_insecure: ConfigVarBool = ConfigVarBool()
    datacenter: ConfigVar = ConfigVar()
    cluster: ConfigVar = ConfigVar()
    folder: ConfigVar = ConfigVar()
    resource_pool: ConfigVar = ConfigVar()
    datastore: ConfigVar = ConfigVar()
    datastore_cluster: ConfigVar = ConfigVar()
    cpus: int = field(default=2, metadata=meta(rule=at_least(1)))
    memory_mb: int = field(default=4096, metadata=meta("memoryMB", rule=at_least(1)))
    disk_size_gb: int | None = field(
        default=None, metadata=meta("diskSizeGB", rule=at_least(1), doc="Not below the template's own.")
    )
    tags: tuple[VsphereTag, ...] = ()
    vm_anti_affinity: ConfigVarBool = ConfigVarBool()
    vm_group: ConfigVar = ConfigVar()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """CPUs and memory in one word."""
        return f"{self.cpus}cpu-{self.memory_mb}mb"

    @property
    def zone(self) -> str:
        """The compute cluster asked for; empty: any."""
        return self.cluster.value

    @property
    def image(self) -> str:
        """The template asked for; empty: by channel or version."""
        return self.template_vm_name.value
