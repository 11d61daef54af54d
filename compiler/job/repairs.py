"""What a faulty setting should say instead, keeping what it means: shared by the rules' fixes and by the passes."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.catalog.linear_modules import ALL_LINEAR, all_linear_targets, match_targets
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.memory import stack_of, targets_of
from kaitoc.compiler.memory.workload import WorkloadError


def linear_module_names(job: Job) -> tuple[str, ...]:
    """Return the names of the linear layers of a job's model that adapters can be put on; empty when unknown."""
    if job.model is None:
        return ()
    try:
        return all_linear_targets(job.model.value, fused_experts=stack_of(job).fused_experts)
    except WorkloadError:
        return ()


def repaired_targets(job: Job) -> tuple[str, ...] | None:
    """Return the `target_modules` that a job means, by the names its model has; None when there is nothing to repair.

    Names of other architectures become the modules that do the same (`q_proj` is part of Phi-3's `qkv_proj`), a block
    becomes the layers in it, names that mean nothing are dropped, and the order stays. A job that
    names none and whose release has no default for the model gets all linear layers.
    """
    names = linear_module_names(job)
    if not names or job.model is None or not job.parsed:
        return None
    asked = targets_of(job)
    if not asked:
        return names
    if asked == (ALL_LINEAR,) and job.target is Target.BUNDLED:
        return None
    architecture, fused_experts = job.model.value, stack_of(job).fused_experts
    meant = [
        module
        for name in _separate(asked, job.target)
        for module in _meaning(architecture, name, names, fused_experts=fused_experts)
    ]
    repaired = tuple(dict.fromkeys(meant))
    return repaired if repaired and repaired != asked else None


def can_pad_batches(job: Job) -> bool:
    """Return whether the job's runtime can put sequences of different lengths in one batch.

    TRL 1.7 and later hand Kaito's collator, transformers' `DataCollatorForLanguageModeling`, a ragged `labels` column
    that it cannot pad, so any batch above one stops with "Unable to create tensor" (run with TRL 1.0 to 1.16).
    """
    return job.target is Target.BUNDLED or not job.release.has(LibraryChange.RAGGED_LABELS)


def _separate(asked: tuple[str, ...], target: Target) -> tuple[str, ...]:
    """Return names one by one; text such as `q_proj, v_proj` is what Kaito takes for a single name."""
    if target is Target.BUNDLED or len(asked) != 1:
        return asked
    return tuple(asked[0].replace(",", " ").split())


def _meaning(architecture: Architecture, name: str, names: tuple[str, ...], *, fused_experts: bool) -> tuple[str, ...]:
    """Return the model's modules that a name stands for, empty when it means nothing."""
    if name == ALL_LINEAR:
        return names
    if name.rpartition(".")[2] in names:
        return (name,)
    match = match_targets(architecture, (name,), fused_experts=fused_experts)
    return (name,) if match.modules or match.embeddings else dict(match.equivalents).get(name, ())


DEFAULT_OUTPUT_DIR = "/mnt/results"
_RESERVED_BELOW_MNT = ("data", "config")


def canonical_output_dir(written: str | None) -> str:
    """Return the `output_dir` that Kaito's webhook, controller and runtime all read as one folder: `/mnt/<name>[/...]`.

    The controller mounts what is joined below /mnt, the runtime uses the text as it stands; `data` and `config` are
    mounted already. A path that has this form stays as it is.
    """
    text = (written or "").strip()
    if not text:
        return DEFAULT_OUTPUT_DIR
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    below = parts[1:] if text.startswith("/") and parts[:1] == ["mnt"] else parts
    if not below or below[0] in _RESERVED_BELOW_MNT:
        return DEFAULT_OUTPUT_DIR
    canonical = "/mnt/" + "/".join(below)
    return text if text.rstrip("/") == canonical else canonical


_COMPUTE_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "half": "float16"}


def compute_dtype_name(job: Job, written: object) -> str | None:
    """Choose the value that `bnb_4bit_compute_dtype` should have, None when it needs no change.

    Left out it is float32 in Kaito's code (cli.py), so the GPU's half-precision type is meant: bfloat16 from compute
    capability 8.0 on, else float16. Abbreviations are written out.
    """
    if job.option("QuantizationConfig", "bnb_4bit_compute_dtype") is None:
        has_bf16 = job.gpu is None or job.gpu.value.has_bf16
        return "bfloat16" if has_bf16 else "float16"
    name = str(written).removeprefix("torch.").lower()
    meant = _COMPUTE_DTYPES.get(name, name)
    return meant if meant != written and meant in ("bfloat16", "float16", "float32") else None


def evaluates(job: Job) -> bool:
    """Return whether the job asks for evaluation while it trains."""
    return job.value("TrainingArguments", "eval_strategy") not in (None, "no", False)


def evaluates_at_all(job: Job) -> bool:
    """Return whether a job surely evaluates: while it trains, if `eval_delay` lets it, or before its first step."""
    starts = job.flag("TrainingArguments", "eval_on_start") and job.value("DatasetConfig", "train_test_split") != 1
    return starts or (evaluates(job) and not _may_end_before_it_evaluates(job))


def _may_end_before_it_evaluates(job: Job) -> bool:
    """Return whether `eval_delay`, in steps or in epochs as evaluations are, may be longer than the training."""
    delay = job.number("TrainingArguments", "eval_delay", 0.0)
    num_steps = job.integer("TrainingArguments", "max_steps", -1)
    if job.value("TrainingArguments", "eval_strategy") == "epoch":
        num_epochs = job.number("TrainingArguments", "num_train_epochs", 3.0)
        return delay > 0 if num_steps > 0 else not delay <= num_epochs
    return num_steps > 0 and not delay <= num_steps


def batch_values(job: Job, batch: int, effective: int) -> dict[str, object]:
    """Return the options to set for a batch per GPU that, accumulated, keeps the effective batch.

    `effective` is the number of sequences per GPU and optimizer step; `batch` divides it. What has its value already
    is left out.
    """
    wanted = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": effective // batch}
    return {name: value for name, value in wanted.items() if job.integer("TrainingArguments", name, 0) != value}
