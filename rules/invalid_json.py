"""Text that is not a JSON mapping, under a key that takes one."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._conditions import ARGUMENTS, stage_effect, written
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT213"
NAME = "invalid-json"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


_TEXT_STAGES = {
    "lr_scheduler_kwargs": "optimizer",
    "gradient_checkpointing_kwargs": "trainer",
    "accelerator_config": "parse",
    "fsdp_config": "parse",
}
"""Where a text that is no mapping stops the job, for the keys whose text nothing else reads."""


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.INVALID_JSON):
        yield Fault(
            job.place_of(option),
            f"the text of `{problem.key}` starts with a brace but is not JSON; {STOPS}",
            help="JSON needs names and strings in double quotes",
        )
    if is_on_kaito(job):
        yield from _other_texts(job)


def _other_texts(job: Job) -> Iterator[Fault]:
    for key, stage in _TEXT_STAGES.items():
        option, value = job.option(ARGUMENTS, key), job.value(ARGUMENTS, key)
        if option is None or not isinstance(value, str) or option.plain is None or not _is_read(job, key):
            continue
        reads = "is read as a file name" if key in ("accelerator_config", "fsdp_config") else "is not a JSON mapping"
        yield Fault(
            job.place_of(option),
            f"{written(option)} {reads}; {stage_effect(stage)}",
            help="write a JSON mapping in single quotes, such as '{\"key\": 1}', or leave it out",
        )


def _is_read(job: Job, key: str) -> bool:
    """Return whether the run looks at the text."""
    if key == "lr_scheduler_kwargs":
        return job.value(ARGUMENTS, "lr_scheduler_type") not in ("constant", "constant_with_warmup")
    if key == "fsdp_config":
        return not job.release.has(LibraryChange.FSDP_CONFIG_WITH_FSDP) or bool(job.value(ARGUMENTS, "fsdp"))
    return key != "gradient_checkpointing_kwargs" or job.flag(ARGUMENTS, "gradient_checkpointing")
