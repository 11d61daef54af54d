"""One module per pass; `PASSES` is the whole pipeline of a fine-tune, in order, and `SERVING_PASSES` that of a server.

A pass yields the changes it would make to a job. The driver (`kaitoc.compiler.compile.driver`) applies the first one,
reads the text again, and asks again, until no pass has anything to say.
"""

from __future__ import annotations

from kaitoc.compiler.passes import (
    bound_rank,
    explicit,
    fit,
    fit_server,
    instance_type,
    order_documents,
    own_config_map,
    repair_batches,
    repair_checkpointing,
    repair_choices,
    repair_collator,
    repair_dataset,
    repair_faults,
    repair_layout,
    repair_output_dir,
    repair_quantization,
    repair_sections,
    repair_server,
    repair_targets,
    repair_weights,
    server_instance,
    speed,
    speed_loading,
    speed_server,
)
from kaitoc.compiler.passes.model import TuningPass
from kaitoc.compiler.passes.server_model import ServingPass

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

SERVING_PASSES: tuple[ServingPass, ...] = (
    repair_layout,
    repair_server,
    server_instance,
    fit_server,
    speed_server,
)


def passes_after(step: TuningPass) -> tuple[TuningPass, ...]:
    """Return the passes that run later in the pipeline than `step`."""
    return PASSES[PASSES.index(step) + 1 :]
