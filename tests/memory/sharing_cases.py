"""Random jobs of several GPUs, as plans of the bundled runtime, and whether all who judge them say the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu, all_gpus
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.memory.closed_form.footprint import as_shared, bounds, fits, footprint, verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import architecture_of, shared_footprint, with_prediction, workload_of_plan
from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, QuantizationPlan

MARGIN = 0.05


def random_jobs(seed: int, number: int) -> Iterator[tuple[Plan, Gpu]]:
    """Yield plans with the GPU that each is for."""
    draw = random.Random(seed)
    models = [model for model in all_models() if model.num_experts == 0]
    for _ in range(number):
        method = draw.choice(("none", "none", "nf4", "int8"))
        is_full = method == "none" and draw.random() < 0.4
        plan = Plan(
            name="random",
            model=ModelPlan(path="/mnt/model"),
            quantization=QuantizationPlan.model_validate({"method": method}),
            lora=None if is_full else LoraPlan(r=draw.choice((8, 16, 64))),
            data=DataPlan(paths=("/mnt/data",), max_length=draw.choice((512, 2048))),
            output=OutputPlan(path="/mnt/results"),
            num_processes=draw.choice((1, 2, 4, 8, 16)),
            provenance=Provenance(kaitoc_version="0", preset=draw.choice(models).name),
        )
        nodes = [number for number in (1, 2, 4) if plan.num_processes % number == 0]
        groups = [group for group in (2, 4, 8) if plan.num_processes % group == 0]
        sharding = draw.choice(("auto", "auto", "ddp", "fsdp2"))
        changes = {
            "per_device_train_batch_size": draw.choice((1, 2, 4)),
            "gradient_accumulation_steps": draw.choice((1, 4)),
        }
        training = plan.training.model_copy(update=changes)
        shared = {
            "training": training,
            "sharding": sharding,
            "num_nodes": draw.choice(nodes),
            "shard_group": draw.choice((None, None, *groups)) if sharding != "ddp" else None,
        }
        yield plan.model_copy(update=shared), draw.choice(all_gpus())


def disagreement(plan: Plan, gpu: Gpu) -> str:
    """Return what two of estimate, compile, dry run and preflight tell differently of a job, empty where nothing."""
    architecture = architecture_of(plan)
    assert architecture is not None
    workload = workload_of_plan(plan, architecture)
    try:
        estimated = footprint(workload, gpu)
    except WorkloadError:
        return "" if shared_footprint(plan, gpu) is None else "only the run knows an answer"
    planned = with_prediction(plan, architecture, gpu).predicted
    at_run = shared_footprint(plan, gpu)
    if at_run is None or planned is None:
        return "only the estimate knows an answer"
    shared = estimated.sharding
    if {shared, as_shared(workload, gpu).sharding, at_run.sharding} != {shared} or shared.kind is ShardingKind.AUTO:
        return "how the model is shared"
    if len({estimated.reserved_bytes, planned.reserved_bytes, at_run.reserved_bytes}) > 1:
        return "what a process reserves"
    if fits(workload, gpu, MARGIN) != (verdict(estimated, gpu, MARGIN) is Verdict.FITS):
        return "whether it fits"
    return "" if bounds(workload, gpu).low_bytes == estimated.low_bytes else "the least that it needs"
