"""From a plan to its predicted speed on the nodes that it is for."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.memory.throughput.speed import Throughput, throughput
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import architecture_of, workload_of_plan
from kaitoc.compiler.plan.plan import Plan


def speed_of_plan(plan: Plan, instance: InstanceType) -> Throughput | None:
    """Return the speed of all processes of a plan on an instance type, None where it cannot be predicted."""
    architecture = architecture_of(plan)
    if architecture is None or instance.gpu is None:
        return None
    steps = plan.training.gradient_accumulation_steps
    try:
        return throughput(
            workload_of_plan(plan, architecture), instance.gpu, accumulation_steps=steps, instance=instance
        )
    except WorkloadError:
        return None
