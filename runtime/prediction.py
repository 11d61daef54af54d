"""What the memory engine predicts for a plan on the model that is really there, for a batch that was really seen."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.catalog.architecture import ArchitectureError, from_config
from kaitoc.compiler.memory.footprint import footprint
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.workload import Dtype, WorkloadError
from kaitoc.compiler.plan import Plan
from kaitoc.compiler.plan_memory import workload_of_plan


def predicted_footprint(plan: Plan, config: Any, batch_shape: tuple[int, int] | None = None) -> Footprint | None:
    """Return the footprint of a plan for a loaded model's config, None for a model that the engine does not know.

    `batch_shape` is (sequences, padded length in tokens); None takes the plan's.
    """
    batch_size, seq_len_tokens = batch_shape or (None, None)
    try:
        architecture = from_config(plan.model.path, config.to_dict())
        dtype = Dtype(str(config.dtype).removeprefix("torch.")) if config.dtype is not None else None
        workload = workload_of_plan(
            plan, architecture, batch_size=batch_size, seq_len_tokens=seq_len_tokens, dtype=dtype
        )
        return footprint(workload)
    except (ArchitectureError, WorkloadError, ValueError):
        return None
