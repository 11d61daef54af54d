"""A Workspace and its ConfigMap from nothing but a model, a GPU, the data's shape and a sequence length."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, find_gpu, find_instance_type, suggest_gpus
from kaitoc.compiler.catalog.linear_modules import all_linear_targets
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.compile.consequences import with_reasons
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation, CompileError, CompileRequest
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.core.wording import did_you_mean
from kaitoc.compiler.job.job import Assumptions, Target
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.manifest.render import literal, render_document
from kaitoc.compiler.manifest.training_config import DATA_KEY
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.instances import listed_instance_types

METHODS = ("lora", "qlora")
CLOUDS = ("azure", "aws", "arc")

_LARGEST_BATCH = 16
_STEPS_PER_EPOCH = 50
_NO_CHECKPOINTS = "no"
"""Kaito pushes the last adapter only: checkpoints are lost with the pod."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What to scaffold.

    `preset` is the name Kaito knows the model by. `method` None takes LoRA where it fits, else QLoRA. `batch` is the
    effective batch of one GPU; None derives it from `num_samples`. `instance_type` None takes the smallest that fits.
    """

    name: str
    model: Architecture
    preset: str
    seq_len_tokens: int
    method: str | None = None
    instance_type: InstanceType | None = None
    cloud: str = "azure"
    data_url: str = "https://example.com/train.jsonl"
    num_samples: int | None = None
    batch: int | None = None
    rank: int = 16
    output_image: str = "registry.example.com/adapters:v1"
    push_secret: str = "registry-push-secret"  # noqa: S105  (the name of a Secret, not a secret)
    namespace: str = ""


def instance_type_named(name: str, assumptions: Assumptions, cloud: str) -> InstanceType:
    """Find an instance type by its name, or the smallest of a cloud with a GPU of that name; raises `CompileError`."""
    instance_type, gpu, kaito = find_instance_type(name), find_gpu(name), f"Kaito {assumptions.release.name}"
    if instance_type is not None:
        return instance_type
    if gpu is None:
        raise CompileError(f"{kaito} lists no instance type `{name}`{did_you_mean(suggest_gpus(name))}")
    smallest = {place: _smallest_with(gpu, assumptions.release, place) for place in (cloud, *CLOUDS)}
    found = smallest.pop(cloud)
    if found is not None:
        return found
    others = [f"`--cloud {place}` has {other.name}" for place, other in smallest.items() if other is not None]
    raise CompileError("; ".join((f"{kaito} lists no instance type with {gpu.name} for --cloud {cloud}", *others)))


def _smallest_with(gpu: Gpu, release: Release, cloud: str) -> InstanceType | None:
    return next((instance for instance in listed_instance_types(release, cloud) if instance.gpu == gpu), None)


def scaffold(blueprint: Blueprint, request: CompileRequest, assumptions: Assumptions) -> Compilation:
    """Return a compiled Workspace and ConfigMap, the first that fits by method and instance type, with a margin if any.

    Raises `CompileError` when none fits; its message says what binds.
    """
    limit = blueprint.model.max_position_embeddings
    if 0 < limit < blueprint.seq_len_tokens:
        raise CompileError(f"{blueprint.model.name} takes at most {limit:,} tokens, not {blueprint.seq_len_tokens:,}")
    refused: Compilation | None = None
    tight: Compilation | None = None
    for variant in _variants(blueprint, assumptions):
        compiled = _compiled(variant, request, assumptions)
        if compiled.is_refused:
            refused = compiled
        elif compiled.jobs[0].after.verdict is Verdict.TIGHT:
            tight = tight or compiled
        else:
            return _with_reasons(compiled, request)
    if tight is None:
        raise CompileError(_why_not(refused) + _way_out(blueprint, refused, request, assumptions))
    return _with_reasons(tight, request)


def _compiled(variant: Blueprint, request: CompileRequest, assumptions: Assumptions) -> Compilation:
    source = Source(f"{variant.name}.yaml", manifest_text(variant, assumptions))
    return compile_files([source.path], request, [source])


def _with_reasons(compilation: Compilation, request: CompileRequest) -> Compilation:
    """Return a compilation whose file says why the findings that are left are meant to be there."""
    (file,) = compilation.files
    text = with_reasons(Source(file.source.path, file.text), request)
    return replace(compilation, files=(replace(file, text=text),))


def manifest_text(blueprint: Blueprint, assumptions: Assumptions) -> str:
    """Return a ConfigMap and the Workspace that uses it as two YAML documents, before compiling."""
    workspace = render_document(_workspace(blueprint))
    config_map = render_document(_config_map(blueprint, assumptions))
    return f"{config_map}---\n{workspace}"


def _variants(blueprint: Blueprint, assumptions: Assumptions) -> Iterator[Blueprint]:
    """Yield what to try: on each instance type LoRA before QLoRA, smaller instance types first."""
    instances = (
        [blueprint.instance_type]
        if blueprint.instance_type is not None
        else _distinct(listed_instance_types(assumptions.release, blueprint.cloud))
    )
    for instance in instances:
        for method in (blueprint.method,) if blueprint.method is not None else METHODS:
            yield replace(blueprint, instance_type=instance, method=method)


def _distinct(instances: list[InstanceType]) -> list[InstanceType]:
    """Return the first instance type of each GPU and count; the others differ in what a fine-tune does not need."""
    first: dict[tuple[str, int], InstanceType] = {}
    for instance in instances:
        first.setdefault((instance.gpu.name if instance.gpu is not None else "", instance.num_gpus), instance)
    return list(first.values())


def _why_not(last: Compilation | None) -> str:
    if last is None:
        return "there is no instance type to try"
    reasons = [job.shortage for job in last.jobs if job.shortage] or [problem.message for problem in last.problems]
    return "; ".join(reasons)


def _way_out(
    blueprint: Blueprint, refused: Compilation | None, request: CompileRequest, assumptions: Assumptions
) -> str:
    """Name the options with which a run that lacks memory fits: another method, else another GPU; empty for none."""
    if refused is None or not any(job.shortage for job in refused.jobs):
        return ""
    instance = blueprint.instance_type
    any_method = replace(blueprint, method=None, cloud=instance.cloud if instance is not None else blueprint.cloud)
    for wider in (any_method, replace(any_method, instance_type=None)):
        for variant in _variants(wider, assumptions):
            if not _compiled(variant, request, assumptions).is_refused:
                return f"; it fits with `{_options_between(blueprint, variant)}`"
    return ""


def _options_between(blueprint: Blueprint, variant: Blueprint) -> str:
    method, instance = variant.method, variant.instance_type
    options = [f"--method {method}"] if blueprint.method not in (None, method) else []
    if instance is not None and instance != blueprint.instance_type:
        options.append(f"--gpu {instance.name}")
    return " ".join(options)


def _workspace(blueprint: Blueprint) -> dict[str, object]:
    instance = blueprint.instance_type
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": metadata_of(blueprint, blueprint.name),
        "resource": {
            "instanceType": instance.name if instance is not None else "",
            "labelSelector": {"matchLabels": {"app": blueprint.name}},
        },
        "tuning": {
            "preset": {"name": blueprint.preset},
            "method": blueprint.method or METHODS[0],
            "config": f"{blueprint.name}-params",
            "input": {"urls": [blueprint.data_url]},
            "output": {"image": blueprint.output_image, "imagePushSecret": blueprint.push_secret},
        },
    }


def _config_map(blueprint: Blueprint, assumptions: Assumptions) -> dict[str, object]:
    inner = render_document({"training_config": _sections(blueprint, assumptions)})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata_of(blueprint, f"{blueprint.name}-params"),
        "data": {DATA_KEY: literal(inner)},
    }


def metadata_of(blueprint: Blueprint, name: str) -> dict[str, str]:
    """Return the metadata of one of a blueprint's objects, which share a namespace."""
    return {"name": name, "namespace": blueprint.namespace} if blueprint.namespace else {"name": name}


def _sections(blueprint: Blueprint, assumptions: Assumptions) -> dict[str, object]:
    """Return the sections that decide what is learned; what decides memory and speed is left to the passes."""
    arguments: dict[str, object] = {
        "output_dir": "/mnt/results",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": blueprint.batch or _batch_for(blueprint.num_samples),
        "learning_rate": 0.0002,
        "lr_scheduler_type": "cosine",
        "save_strategy": "epoch"
        if assumptions.target is Target.BUNDLED
        else "no",  # Kaito pushes the last adapter only
        "ddp_find_unused_parameters": False,
    }
    gpu = blueprint.instance_type.gpu if blueprint.instance_type is not None else None
    if gpu is not None and gpu.has_bf16:
        arguments["bf16"] = True
    if "max_length" in release_arguments(assumptions.release.name).sections["TrainingArguments"].arguments:
        arguments["max_length"] = blueprint.seq_len_tokens
    sections: dict[str, object] = {
        "ModelConfig": {"torch_dtype": "bfloat16", "local_files_only": True, "device_map": "auto"}
    }
    if blueprint.method == "qlora":
        sections["QuantizationConfig"] = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": "bfloat16",
            "bnb_4bit_use_double_quant": True,
        }
    sections["LoraConfig"] = {
        "r": blueprint.rank,
        "lora_alpha": 2 * blueprint.rank,
        "lora_dropout": 0.0,
        "target_modules": list(all_linear_targets(blueprint.model)),
    }
    sections["TrainingArguments"] = arguments
    sections["DatasetConfig"] = {"shuffle_dataset": True, "train_test_split": 1}
    sections["DataCollator"] = {"mlm": False}
    return sections


def _batch_for(num_samples: int | None) -> int:
    """Return the largest power of two, up to 16, that leaves at least 50 steps in an epoch."""
    batch = _LARGEST_BATCH
    while num_samples is not None and batch > 1 and num_samples // batch < _STEPS_PER_EPOCH:
        batch //= 2
    return batch
