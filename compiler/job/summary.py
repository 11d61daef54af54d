"""What is told of a job beside its findings: its size, what it needs, and whether it fits."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.result import Footprint, Verdict


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One tuning run and what it needs on one GPU.

    `workspace` and `configmap` are `namespace/name`, or the bare name where the manifest names no namespace, and empty
    where there is none. `footprint` is None where the model or the configuration is unknown, `verdict` and
    `capacity_bytes` where the GPU is.
    """

    workspace: str = ""
    configmap: str = ""
    model: str = ""
    gpu: str = ""
    method: str = ""
    seq_len: int | None = None
    batch: int | None = None
    footprint: Footprint | None = None
    capacity_bytes: int | None = None
    verdict: Verdict | None = None

    @property
    def fits(self) -> bool | None:
        """Return whether the run fits, be it tightly; None where that cannot be told."""
        return None if self.verdict is None else self.verdict is not Verdict.DOES_NOT_FIT

    @property
    def title(self) -> str:
        """Return the name to show: the Workspace's, else the ConfigMap's."""
        return self.workspace or self.configmap
