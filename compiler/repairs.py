"""What a faulty setting should say instead, keeping what it means: shared by the rules' fixes and by the passes."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.job import Job, Target
from kaitoc.compiler.job_memory import stack_of, targets_of
from kaitoc.compiler.memory.footprint_family import Family, find_family
from kaitoc.compiler.memory.workload import WorkloadError

ALL_LINEAR = "all-linear"

_ATTENTION_INPUTS = frozenset(
    ("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack", "query", "key", "value")
)
_ATTENTION_OUTPUTS = frozenset(("o_proj", "out_proj", "dense", "wo"))
_MLP_INPUTS = frozenset(("gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h", "w1", "w3"))
_MLP_OUTPUTS = frozenset(("down_proj", "fc2", "dense_4h_to_h", "w2"))
_FIRST_TRL_WITH_RAGGED_LABELS = (1, 7)


def linear_module_names(job: Job) -> tuple[str, ...]:
    """Return the names of the linear layers of a job's model that adapters can be put on; empty when unknown."""
    if job.model is None:
        return ()
    family = _family(job.model.value)
    if family is None:
        return ()
    attention = (*family.attention, family.output)
    experts_are_fused = job.model.value.num_experts > 0 and stack_of(job).fused_experts
    return attention if experts_are_fused else (*attention, *family.mlp_modules)


def repaired_targets(job: Job) -> tuple[str, ...] | None:
    """Return the `target_modules` that a job means, by the names its model has; None when there is nothing to repair.

    Names of other architectures become the modules that do the same (`q_proj` is part of Phi-3's `qkv_proj`), names
    that mean nothing are dropped, and the order stays. A job that names none and whose release has no default for the
    model gets all linear layers.
    """
    names = linear_module_names(job)
    if not names or job.model is None:
        return None
    family = _family(job.model.value)
    if family is None:
        return None
    asked = _asked_names(job)
    if not asked:
        return names
    if asked == (ALL_LINEAR,) and job.target is Target.BUNDLED:
        return None
    meant = [module for name in asked for module in _meaning(name, names, family)]
    repaired = tuple(dict.fromkeys(meant))
    return repaired if repaired and repaired != asked else None


def can_pad_batches(job: Job) -> bool:
    """Return whether the job's runtime can put sequences of different lengths in one batch.

    TRL 1.7 and later hand Kaito's collator, transformers' `DataCollatorForLanguageModeling`, a ragged `labels` column
    that it cannot pad, so any batch above one stops with "Unable to create tensor" (run with TRL 1.0 to 1.16).
    """
    if job.target is Target.BUNDLED:
        return True
    return _version(stack_of(job).trl) < _FIRST_TRL_WITH_RAGGED_LABELS


def _family(architecture: Architecture) -> Family | None:
    try:
        return find_family(architecture.model_type)
    except WorkloadError:
        return None


def _asked_names(job: Job) -> tuple[str, ...]:
    """Return the target names a job asks for; text such as `q_proj, v_proj` is what Kaito takes for one name."""
    asked = targets_of(job)
    if len(asked) == 1 and job.target is Target.KAITO:
        return tuple(asked[0].replace(",", " ").split())
    return asked


def _meaning(name: str, names: tuple[str, ...], family: Family) -> tuple[str, ...]:
    """Return the model's modules that a name stands for, empty when it means nothing."""
    if name == ALL_LINEAR:
        return names
    base = name.rpartition(".")[2]
    if base in names:
        return (name,)
    *mlp_inputs, mlp_output = family.mlp_modules
    roles = (
        (_ATTENTION_INPUTS, family.attention),
        (_ATTENTION_OUTPUTS, (family.output,)),
        (_MLP_INPUTS, tuple(mlp_inputs)),
        (_MLP_OUTPUTS, (mlp_output,)),
    )
    found = next((modules for role, modules in roles if base in role), ())
    return tuple(module for module in found if module in names)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
