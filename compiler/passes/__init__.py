"""One module per pass; `PASSES` is the whole pipeline, in order.

A pass yields the changes it would make to a job. The driver (`kaitoc.compiler.compile.driver`) applies the first one,
reads the text again, and asks again, until no pass has anything to say.
"""

from __future__ import annotations

from kaitoc.compiler.passes import (
    bound_rank,
    explicit,
    fit,
    instance_type,
    order_documents,
    own_config_map,
    repair_batches,
    repair_checkpointing,
    repair_choices,
    repair_collator,
    repair_dataset,
    repair_faults,
    repair_output_dir,
    repair_quantization,
    repair_sections,
    repair_targets,
    repair_weights,
    speed,
    speed_loading,
)
from kaitoc.compiler.passes.model import TuningPass

PASSES: tuple[TuningPass, ...] = (
    own_config_map,
    repair_sections,
    repair_choices,
    repair_targets,
    repair_collator,
    repair_output_dir,
    repair_dataset,
    repair_weights,
    repair_quantization,
    repair_batches,
    repair_checkpointing,
    repair_faults,
    bound_rank,
    instance_type,
    fit,
    speed,
    speed_loading,
    explicit,
    order_documents,
)


def passes_after(step: TuningPass) -> tuple[TuningPass, ...]:
    """Return the passes that run later in the pipeline than `step`."""
    return PASSES[PASSES.index(step) + 1 :]
