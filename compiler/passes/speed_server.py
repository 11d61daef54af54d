"""The configuration that answers one request soonest, or most requests: what a goal of speed asks for."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.speed import RequestShape, shape_within
from kaitoc.compiler.passes.model import Change, Goal
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.server_search import search_for_server

NAME = "speed-server"

SPEED_GOALS = (Goal.LATENCY, Goal.THROUGHPUT, Goal.COST)
WORTHWHILE = 0.05
"""The share of time that a change must save: what is less is not told apart by the estimate."""
_NEVER = float("inf")


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield the change to the goal's best configuration that surely starts; nothing where little is gained."""
    search = search_for_server(job, context, context.goal) if context.goal in SPEED_GOALS else None
    if search is None or search.runs[0].footprint is None:
        return
    shape = shape_within(search.runs[0].footprint.length_tokens)
    best = search.best(lambda one: seconds_of(one, context.goal, shape))
    if best is None:
        return
    now, then = (seconds_of(one, context.goal, shape) for one in (search.runs[0], search.varied(best)[0]))
    change = search.change(best) if then < now * (1 - WORTHWHILE) else None
    if change is not None:
        yield change


def seconds_of(run: ServingRun, goal: Goal, shape: RequestShape) -> float:
    """Return the time of one request alone, or per output token of a full server."""
    speed = run.speed(shape)
    if speed is None:
        return _NEVER
    return speed.request_seconds if goal is Goal.LATENCY else 1.0 / speed.tokens_per_second
