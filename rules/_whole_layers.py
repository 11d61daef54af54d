"""Layers that `modules_to_save` trains whole, beside the adapter."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.linear_modules import linear_modules
from kaitoc.compiler.catalog.module_names import other_modules
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of

_CONTAINERS = ("model", "transformer", "layers", "h", "self_attn", "attention", "self_attention", "attn", "mlp")
"""The modules that may have linear layers in them."""


def holds_weights(job: Job, model: Architecture, name: str) -> bool:
    """Return whether a name is that of a linear layer, or of a module with some inside."""
    last = name.rpartition(".")[2]
    linear = linear_modules(model, fused_experts=stack_of(job).fused_experts)
    return (
        any(last == module.name for module in linear)
        or last.isdigit()
        or (last in _CONTAINERS and last in other_modules(model).refused_names)
    )


def trains_whole_layers(job: Job) -> bool:
    """Return whether `modules_to_save` has a layer or an embedding; of an unknown model it may have one.

    Norms do not count: a step of the usual learning rate is too small for a bfloat16 that is about one.
    """
    saved = job.value("LoraConfig", "modules_to_save")
    names = [str(name) for name in saved] if isinstance(saved, (list, tuple)) else []
    if job.model is None:
        return bool(names)
    model = job.model.value
    embeddings = other_modules(model).embedding_names
    return any(name.rpartition(".")[2] in embeddings or holds_weights(job, model, name) for name in names)
