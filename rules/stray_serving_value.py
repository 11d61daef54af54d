"""A value after an option that takes none, following another such value."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_parser import ServingProblemKind
from kaitoc.rules._serving import STOPS, serving_problems
from kaitoc.rules._switches import as_one_chain

CODE = "KT702"
NAME = "stray-serving-value"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield every stray word but the first, which vLLM takes for a model's name and Kaito ignores."""
    for option, _ in serving_problems(job, ServingProblemKind.STRAY):
        yield Fault(
            option.key,
            f"`{option.name}` takes no value: Kaito writes `--{option.name} {option.plain}`, and vLLM refuses a second "
            f"such word; {STOPS}",
            help="write the next option as the value of an option without one: "
            "`enforce-eager: --async-scheduling`, and the last one `--seed=0`",
            fix=as_one_chain(job),
        )
