"""Write `DataCollator.mlm: false`: causal models have no mask token."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-collator"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield `mlm: false` where it is true or left to its default, which is true."""
    if not job.flag("DataCollator", "mlm"):
        return
    if job.option("DataCollator", "mlm") is not None:
        reason = "causal models have no mask token; Kaito's runtime falls back to `mlm: false`"
        yield set_to(job, "DataCollator", "mlm", False, reason, Preserves.EXACT)
        return
    reason = "`mlm` defaults to true, and Kaito falls back to false only if the key is set: the job stops"
    yield set_to(job, "DataCollator", "mlm", False, reason, Preserves.INTENT)
