"""What is told of a job beside its findings: its size, what it needs, and whether it fits."""

from __future__ import annotations

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Literal
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.result import Footprint, Verdict

if TYPE_CHECKING:
    from kaitoc.compiler.kaito.node_estimate import NodeEstimate
    from kaitoc.compiler.memory.serving.footprint import ServingFootprint
    from kaitoc.compiler.memory.solve import SolvedSize
    from kaitoc.compiler.memory.throughput.epoch import Epoch
    from kaitoc.compiler.memory.variation import Variation


@dataclass(frozen=True, slots=True)
class ServingNeed:
    """What a server needs on the `num_nodes` that Kaito starts.

    `needed_nodes` is the fewest on which it fits, None where it is unknown or no number is enough; `kaito` is what
    Kaito's estimator computes, None where it is unknown. `lengths` are those to show the concurrency at; `solved`
    answers `question`, a value of `--solve`, both empty for none; `layout` is how the GPUs share the model and who
    says so, empty for one GPU.
    """

    footprint: ServingFootprint
    num_nodes: int = 1
    needed_nodes: int | None = None
    kaito: NodeEstimate | None = None
    lengths: tuple[int, ...] = ()
    question: str = ""
    solved: str = ""
    layout: str = ""

    @property
    def kaito_nodes(self) -> int | None:
        """Return Kaito's own node estimate, None when it refuses the server or the context is unknown."""
        return self.kaito.num_nodes if self.kaito is not None else None


@dataclass(frozen=True, slots=True)
class Solved:
    """The largest value of a size with which a run fits, 0 where it fits with none."""

    size: SolvedSize
    value: int


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What a run needs at one value of a size; `verdict` is None where the GPU is unknown."""

    value: int
    footprint: Footprint
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a run needs at several values of a size, in ascending order."""

    size: SolvedSize
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One tuning run and what it needs on one GPU, or one server.

    `task` is what is learned: "sft" or "dpo", whose `batch` counts pairs; None for a server. `path` is the file that
    brings it in. `workspace` and `configmap` are `namespace/name`, or the bare name where the manifest names no
    namespace, and empty where there is none. `footprint` is None where the need is unknown, which `why_unknown`
    explains; `verdict` and `capacity_bytes` are None where the GPU is unknown; `variation` is what batches of different
    lengths take, where lengths are at hand. `margin` is the share of the GPU's memory that the verdict keeps free.

    `instance_type` is the one found by `--solve gpus`, empty otherwise; `solved` is the size found by another
    `--solve`, `epoch` the time of one pass over the data and `swept` the need at other sizes, where those were asked
    for. A server has `method` "serve", its need in `serving`, its context in `seq_len` and in `batch` the sequences of
    a step.
    """

    path: str = ""
    workspace: str = ""
    configmap: str = ""
    model: str = ""
    gpu: str = ""
    method: str = ""
    seq_len: int | None = None
    batch: int | None = None
    task: Literal["sft", "dpo"] | None = None
    footprint: Footprint | None = None
    capacity_bytes: int | None = None
    margin: float | None = None
    verdict: Verdict | None = None
    why_unknown: str = ""
    serving: ServingNeed | None = None
    instance_type: str = ""
    solved: Solved | None = None
    epoch: Epoch | None = None
    swept: Swept | None = None
    variation: Variation | None = None

    @property
    def fits(self) -> bool | None:
        """Return whether the run fits, be it tightly; None where that cannot be told."""
        return None if self.verdict is None else self.verdict is not Verdict.DOES_NOT_FIT

    @property
    def title(self) -> str:
        """Return the name: the Workspace's, else the ConfigMap's, empty where it has none."""
        return self.workspace or self.configmap

    @property
    def shown_title(self) -> str:
        """Return the name to show, which says so where there is none."""
        return self.title or "(no name)"
