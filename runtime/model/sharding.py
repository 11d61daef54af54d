"""Whether each process holds the whole model (DDP) or a share of it (FSDP2), and what the libraries demand for that."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.plan.memory import sharded_bytes
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure

FSDP_CONFIG: dict[str, Any] = {
    "version": 2,
    "reshard_after_forward": True,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "state_dict_type": "SHARDED_STATE_DICT",
    "cpu_ram_efficient_loading": False,
}


def with_sharding(plan: Plan, device: str) -> Plan:
    """Return a plan that says how its processes share the model.

    Left to choose, a model is sharded when several GPUs are there and the predicted footprint is more than one of them
    has. All processes come to the same answer, since the GPUs of a node are alike. Raises `PlanFailure`.
    """
    if plan.sharding == "fsdp":
        _require_shardable(plan)
        return plan
    outgrows = plan.sharding == "auto" and _is_shardable(plan) and _outgrows_one(plan, device)
    return plan.model_copy(update={"sharding": "fsdp" if outgrows else "ddp"})


def is_sharded(plan: Plan) -> bool:
    """Return whether a process holds only its share of the model."""
    return plan.sharding == "fsdp"


def fsdp_arguments(plan: Plan) -> dict[str, Any]:
    """Return transformers' arguments for a sharded run, none for another.

    Layers are recomputed by the model's own checkpointing. FSDP's would gather each once less, but puts a wrapper into
    the names of modules, by which peft finds no adapter to save (peft/utils/save_and_load.py).
    """
    return {"fsdp": "full_shard auto_wrap", "fsdp_config": dict(FSDP_CONFIG)} if is_sharded(plan) else {}


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


def needed_bytes(plan: Plan) -> int | None:
    """Return the memory that one process needs at least, None when nothing is predicted."""
    if plan.predicted is None:
        return None
    return sharded_bytes(plan.predicted, plan.num_processes) if is_sharded(plan) else plan.predicted.reserved_bytes


def _outgrows_one(plan: Plan, device: str) -> bool:
    if device == "cpu" or plan.predicted is None:
        return False
    import torch

    if not torch.cuda.is_available():
        return False
    return bool(plan.predicted.reserved_bytes > torch.cuda.get_device_properties(0).total_memory)


def _is_shardable(plan: Plan) -> bool:
    return plan.num_processes > 1 and plan.quantization.method != "int8"


def _require_shardable(plan: Plan) -> None:
    if plan.num_processes == 1:
        raise PlanFailure("sharding needs several processes; set --num-processes, or leave --sharding to auto")
    if plan.quantization.method == "int8":
        raise PlanFailure("a model in 8 bit cannot be sharded; use 4 bit (nf4), or --sharding ddp")
