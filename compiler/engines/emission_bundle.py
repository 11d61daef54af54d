"""What every engine's manifest is made from."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.emit_options import EmitOptions
from kaitoc.compiler.engines.emitted_storage import Storage
from kaitoc.compiler.engines.world_size import World
from kaitoc.compiler.manifest.plan_objects import GPU, NEEDED_BYTES, PROCESSES
from kaitoc.compiler.manifest.recognition import PLAN_LABEL

_QUEUE = "kueue.x-k8s.io/queue-name"
_PRIORITY = "kueue.x-k8s.io/priority-class"


@dataclass(frozen=True, slots=True)
class Device:
    """A resource of a device plugin and how many of it each node's pod asks for."""

    resource: str
    count: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A plan with the nodes, volumes and names that it runs with; an empty namespace is left to kubectl."""

    name: str
    namespace: str
    plan_json: str
    options: EmitOptions
    storage: Storage
    world: World
    instance_type: str
    gpu: str

    @property
    def queue_labels(self) -> dict[str, str]:
        """Return Kueue's labels, none where no queue is named."""
        options = self.options
        values = {_QUEUE: options.queue, _PRIORITY: options.priority_class}
        return {label: value for label, value in values.items() if value}

    def metadata(self, labels: dict[str, str] | None = None) -> dict[str, object]:
        """Return the metadata of one of the objects, with labels of its own."""
        needed = self.world.needed_bytes
        annotations = {
            PROCESSES: str(self.world.num_processes),
            GPU: self.gpu,
            **({NEEDED_BYTES: str(needed)} if needed is not None else {}),
        }
        place = {"namespace": self.namespace} if self.namespace else {}
        return {
            "name": self.name,
            **place,
            "labels": {PLAN_LABEL: "true", **(labels or {})},
            "annotations": annotations,
        }

    @property
    def devices(self) -> tuple[Device, ...]:
        """Return the devices that one node's pod asks for."""
        rdma = self.options.rdma
        gpus = Device("nvidia.com/gpu", self.world.processes_per_node)
        return (gpus, *([Device(rdma.resource, rdma.count)] if rdma is not None else []))

    @property
    def resources(self) -> dict[str, str]:
        """Return the resource limits of one node's pod."""
        return {device.resource: str(device.count) for device in self.devices}
