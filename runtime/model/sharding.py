"""Whether each process holds the whole model (DDP) or a share of it (FSDP2), and what the libraries demand for that."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.catalog.gpus import Gpu, custom_gpu, find_gpu
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.closed_form.validation import validate_group, validate_nodes
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharing import NOT_RUN
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import footprint_plan, require_shardable, shared_footprint, syncs_each_batch
from kaitoc.compiler.plan.plan import Plan, PlanError
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.model.shard_loading import is_read_once, is_sharded
from kaitoc.runtime.world import num_nodes

FSDP_CONFIG: dict[str, Any] = {
    "version": 2,
    "reshard_after_forward": True,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "state_dict_type": "SHARDED_STATE_DICT",
}


def with_sharding(plan: Plan, device: str) -> Plan:
    """Return a plan that says how its processes share the model, and what each needs then.

    Left to choose, a model is sharded when several GPUs are there and one of them lacks the memory for a whole copy, by
    the same estimate that `kaitoc estimate` gives. All processes come to the same answer, since the GPUs of a node are
    alike. Raises `PlanFailure`.
    """
    if plan.sharding in NOT_RUN:
        raise PlanFailure(
            f"this runtime shards with fsdp2, not with {plan.sharding}; set sharding to fsdp2, or to auto"
        )
    if plan.sharding == "fsdp2":
        _require_shardable(plan)
    _require_group(plan)
    plan = plan.model_copy(update={"num_nodes": num_nodes() or plan.num_nodes})
    _require_nodes(plan)
    gpu = _gpu(plan) if device != "cpu" else None
    found = shared_footprint(plan, gpu)
    if found is None:
        outgrows = plan.sharding == "auto" and _is_shardable(plan) and gpu is not None and _outgrows(plan, gpu)
        return _shared_by(plan, "fsdp2" if outgrows or plan.sharding == "fsdp2" else "ddp", plan.shard_group)
    kind = found.sharding.kind.value
    is_predicted = plan.predicted is not None and not kind == plan.sharding == "ddp"
    shared = _shared_by(plan, kind, found.sharding.shard_group)
    return shared.model_copy(update={"predicted": footprint_plan(found)}) if is_predicted else shared


def _shared_by(plan: Plan, kind: str, group: int | None) -> Plan:
    """Return a plan with a way of sharing; a group of all processes is none."""
    is_hybrid = kind == "fsdp2" and group != plan.num_processes
    return plan.model_copy(update={"sharding": kind, "shard_group": group if is_hybrid else None})


def _gpu(plan: Plan) -> Gpu | None:
    """Return the GPU of this process: the plan's, with the memory that is really there; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    num_bytes = torch.cuda.get_device_properties(0).total_memory
    known = find_gpu(plan.provenance.gpu) if plan.provenance.gpu else None
    return custom_gpu(num_bytes / GIB) if known is None else replace(known, memory_bytes=num_bytes)


def fsdp_arguments(plan: Plan) -> dict[str, Any]:
    """Return transformers' arguments for a sharded run, none for another.

    Layers are recomputed by the model's own checkpointing. FSDP's would gather each once less, but puts a wrapper into
    the names of modules, by which peft finds no adapter to save (peft/utils/save_and_load.py).
    """
    if not is_sharded(plan):
        return {}
    config = {**FSDP_CONFIG, "cpu_ram_efficient_loading": is_read_once(plan)}
    arguments: dict[str, Any] = {"fsdp": "full_shard auto_wrap", "fsdp_config": config}
    if plan.shard_group is not None:
        arguments["parallelism_config"] = _groups(plan.num_processes, plan.shard_group)
    if syncs_each_batch(plan):
        arguments["accelerator_config"] = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    return arguments


def shard_on_cpu(trainer: Any) -> None:
    """Have a trainer shard also on a CPU, where PyTorch does it with gloo.

    accelerate takes the plugin for several accelerators alone (accelerate/state.py, `AcceleratorState.__init__`).
    """
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin  # type: ignore[import-untyped]  # untyped

    plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
    if trainer.args.mixed_precision != "no":
        plugin.set_mixed_precision(trainer.args.mixed_precision)
    state = trainer.accelerator.state
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = plugin
    trainer.is_fsdp_enabled = True


def _groups(num_processes: int, size: int) -> Any:
    # The launcher, which asks how a plan is shared, needs none of it.
    from accelerate import ParallelismConfig  # type: ignore[import-untyped]  # untyped

    return ParallelismConfig(dp_replicate_size=num_processes // size, dp_shard_size=size)


def form_groups(trainer: Any, groups: Any) -> None:
    """Have a trainer split its model inside groups of processes that follow each other, each a replica of the others.

    accelerate takes what forms them in its constructor, but there refuses a CPU (`_validate_accelerator` of
    accelerate/parallelism_config.py); so they are put where it looks for them when it prepares model and data.
    """
    accelerator = trainer.accelerator
    accelerator.state.parallelism_config = groups
    accelerator.state.device_mesh = groups.get_device_mesh(accelerator.device.type)


def needed_bytes(plan: Plan) -> int | None:
    """Return the memory that one process needs, None when nothing is predicted for how the model is shared."""
    return plan.predicted.reserved_bytes if plan.predicted is not None else None


def peaks_at_load(plan: Plan) -> bool:
    """Return whether a sharded run needs most while its model is loaded, as 4-bit weights do on many GPUs."""
    found = shared_footprint(plan, None) if is_sharded(plan) else None
    return found is not None and found.peak.phase is Phase.LOAD


def _outgrows(plan: Plan, gpu: Gpu) -> bool:
    """Return whether a model that only the manifest's prediction knows outgrows a GPU."""
    return plan.predicted is not None and plan.predicted.reserved_bytes > gpu.memory_bytes


def _is_shardable(plan: Plan) -> bool:
    return plan.num_processes > 1 and plan.quantization.method != "int8"


def _require_group(plan: Plan) -> None:
    if plan.shard_group is None:
        return
    if plan.sharding == "ddp":
        raise PlanFailure("a shard group needs a sharded model: set sharding to fsdp2, or to auto")
    try:
        validate_group(plan.num_processes, plan.shard_group)
    except WorkloadError as error:
        raise PlanFailure(str(error)) from error


def _require_nodes(plan: Plan) -> None:
    try:
        validate_nodes(plan.num_processes, plan.num_nodes)
    except WorkloadError as error:
        raise PlanFailure(str(error)) from error


def _require_shardable(plan: Plan) -> None:
    if plan.num_processes == 1:
        raise PlanFailure("sharding needs several processes; set --num-processes, or leave --sharding to auto")
    try:
        require_shardable(plan)
    except PlanError as error:
        raise PlanFailure(str(error)) from error
