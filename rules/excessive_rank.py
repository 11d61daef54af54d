"""A LoRA rank beyond what the layers can use."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.linear_modules import match_targets
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of, workload_of
from kaitoc.rules._memory import option_place

CODE = "KT505"
NAME = "excessive-rank"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workload = workload_of(job)
    if workload is None or workload.lora is None:
        return
    modules = match_targets(
        workload.architecture, workload.lora.targets, fused_experts=stack_of(job).fused_experts
    ).modules
    rank = workload.lora.rank
    limit = min((min(module.in_features, module.out_features) for module in modules), default=rank)
    if rank <= limit:
        return
    num_trained = sum(module.num_lora_parameters(rank) for module in modules)
    share = num_trained / workload.architecture.num_parameters
    yield Fault(
        option_place(job, "LoraConfig", "r"),
        f"a rank of {rank:,} adds nothing beyond {limit:,}, the smaller dimension of the layers; it trains "
        f"{num_trained / 1e6:,.0f} M parameters, {share:.0%} of the model",
        help="8 to 64 is usual; up to 256 costs little memory",
    )
