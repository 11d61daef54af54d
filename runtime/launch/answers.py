"""Answers for a run's report, by the process that has the model or by all that hold a share of it."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.preferences import as_answered
from kaitoc.runtime.failures import in_words
from kaitoc.runtime.launch.ready import Ready
from kaitoc.runtime.model.shard_loading import is_sharded
from kaitoc.runtime.notes import note
from kaitoc.runtime.observe.report import Sample
from kaitoc.runtime.observe.samples import answer_samples
from kaitoc.runtime.world import is_main_process, leave_others


def answers_in_shares(plan: Plan) -> bool:
    """Return whether answering takes all processes, since each has only its share of the model."""
    return plan.output.samples > 0 and is_sharded(plan)


def samples_of(plan: Plan, ready: Ready, model: Any) -> tuple[Sample, ...]:
    """Return answers for the report; whatever stops them stops no run, whose result is saved by now.

    Processes that share a model all call this, and part from each other after the last answer. After a failure they
    do not: one that waits in a collective would not take part.
    """
    if not plan.output.samples:
        return ()
    rows: Any = ready.eval_set if ready.eval_set is not None else ready.train_set
    if plan.dpo is not None:
        rows = [as_answered(row) for row in rows.select(range(min(plan.output.samples, len(rows))))]
    try:
        samples = answer_samples(model, ready.tokenizer, rows, plan.output.samples)
        if is_sharded(plan):
            leave_others()
    except Exception as error:
        if is_main_process():
            note(f"samples: no answers: {in_words(error)}")
        return ()
    return samples
