"""What rules about serving share: how a fault ends, and fixes in an `inference_config.yaml`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_engine_problem import EngineProblemKind
from kaitoc.compiler.kaito.vllm_parser import ServingProblem, ServingProblemKind
from kaitoc.compiler.kaito.vllm_words import CONTROLLER
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.rules._fixes import removal

STOPS = "the server fails to start"
_MOST_SHOWN = 60


def serving_problems(job: ServingJob, *kinds: ServingProblemKind) -> Iterator[tuple[Option, ServingProblem]]:
    """Yield the pairs of which vLLM's parser says one of `kinds`; what the controller writes is no pair."""
    for problem in job.parsed.problems if job.uses_vllm else ():
        if problem.kind in kinds and problem.index != CONTROLLER:
            yield job.option_at(problem.index), problem


def configuration_faults(job: ServingJob, *kinds: EngineProblemKind) -> Iterator[Fault]:
    """Yield every value that vLLM's parser takes and its configuration refuses, of some kinds."""
    for problem in job.engine_problems if job.uses_vllm else ():
        if problem.kind in kinds and problem.index != CONTROLLER:
            option = job.option_at(problem.index)
            help_text = f"use one of {', '.join(problem.known)}" if problem.known else ""
            is_own_layout = problem.kind is EngineProblemKind.LAYOUT and job.view is not None
            fix = removal(job, option, Applicability.UNSAFE) if is_own_layout else None
            message = f"`{option.name}: {_shown(option.plain)}` {problem.message}; {STOPS}"
            yield Fault(option.value, message, help=help_text, fix=fix)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def is_editable(job: ServingJob) -> bool:
    """Return whether edits can be placed exactly in the config."""
    return job.config is not None and job.config.is_editable


def replacement(job: ServingJob, option: Option, value: object, applicability: Applicability) -> Fix | None:
    """Return the fix that gives a pair another value."""
    config = job.config
    if config is None or not config.is_editable:
        return None
    shown = f"'{value}'" if isinstance(value, str) else str(value)
    return Fix(f"Write {shown}", applicability, (replace_value(config, option, value),))


def plain_name(option: Option) -> str:
    """Return a key as vLLM reads it: hyphens for underscores before the first dot."""
    head, dot, tail = option.name.partition(".")
    return f"{head.replace('_', '-')}{dot}{tail}"
