"""What the search may choose for a job, and the judge of what comes of it."""

from __future__ import annotations

from kaitoc.compiler.job.speed import seconds_per_token
from kaitoc.compiler.memory.closed_form.footprint import Bounds, bounds, fits
from kaitoc.compiler.memory.workload import Workload, WorkloadError
from kaitoc.compiler.passes.choices import CHOICES
from kaitoc.compiler.passes.choices.choice import Question
from kaitoc.compiler.passes.search import Candidate, Hint, Judge, Space
from kaitoc.compiler.passes.situation import Situation

_IMPOSSIBLE_BYTES = 1 << 62


def space_of(question: Question) -> Space:
    """Return the choices for a job; the present values come first."""
    return Space({choice: choice.values_for(question) for choice in CHOICES})


def judge_for(runs: tuple[Situation, ...]) -> Judge:
    """Return the judge of candidates by all runs that share the ConfigMap: the worst verdict, the highest peak."""
    hints: dict[tuple[int, ...], Hint] = {}

    def seconds(candidate: Candidate) -> float:
        return sum(_seconds(candidate, run) for run in runs)

    def hint(candidate: Candidate) -> Hint:
        if candidate.places not in hints:
            hints[candidate.places] = _joined([_hint(candidate, run) for run in runs])
        return hints[candidate.places]

    return Judge(seconds, lambda candidate: all(_fits(candidate, run) for run in runs), hint)


def apply(candidate: Candidate, run: Situation) -> Workload:
    """Return the training step that a candidate makes of a run; what it does not change stays."""
    workload = run.workload
    for choice in candidate.changed:
        workload = choice.apply(run, workload, candidate.values[choice])
    return workload


def _seconds(candidate: Candidate, run: Situation) -> float:
    workload = apply(candidate, run)
    accumulation_steps = max(1, run.effective_batch // workload.batch_size)
    return seconds_per_token(workload, run.gpu, run.num_gpus, accumulation_steps, run.instance)


def _hint(candidate: Candidate, run: Situation) -> Hint:
    try:
        found: Bounds = bounds(apply(candidate, run), run.gpu)
    except WorkloadError:
        return Hint(False, False, _IMPOSSIBLE_BYTES)
    room = run.gpu.memory_bytes * (1.0 - run.margin)
    known = None
    if found.least_high_bytes > room:
        known = False
    elif found.most_high_bytes <= room:
        known = True
    return Hint(known, found.low_bytes <= run.gpu.memory_bytes, found.least_bytes)


def _joined(hints: list[Hint]) -> Hint:
    """Return the hint that holds for all runs together."""
    known = [hint.fits for hint in hints]
    together = False if False in known else None if None in known else True
    return Hint(together, all(hint.fits_tightly for hint in hints), max(hint.least_bytes for hint in hints))


def _fits(candidate: Candidate, run: Situation) -> bool:
    try:
        return fits(apply(candidate, run), run.gpu, run.margin)
    except WorkloadError:
        return False
