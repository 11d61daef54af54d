"""From a job to the plan that the bundled runtime executes.

The sections mean what they mean to Kaito's tuning image, less its defects: columns that are named are used, every data
file is read, and no rows are held out that nothing evaluates.
"""

from __future__ import annotations

import json
import os
import posixpath
from typing import Any, get_args

from pydantic import ValidationError

from kaitoc.compiler import __version__
from kaitoc.compiler.core.redaction import is_secret
from kaitoc.compiler.job.bundled_refusals import DATA_FORMATS, DTYPE_ALIASES, MOUNT_ROOT, leaves_mount, refusals
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import quantization_of
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES, request_in
from kaitoc.compiler.memory.workload import Quantization
from kaitoc.compiler.plan.memory import with_prediction
from kaitoc.compiler.plan.plan import (
    ComputeDtypeName,
    DataPlan,
    DtypeName,
    LoraPlan,
    ModelPlan,
    OutputPlan,
    Plan,
    PlanError,
    Provenance,
    QuantizationPlan,
    TrainingPlan,
    describe_first,
)

DATA_ROOT = "/mnt/data"
_PLANNED_ELSEWHERE = frozenset(
    ("output_dir", "max_length", "truncation_mode", "packing", "packing_strategy", "completion_only_loss",
     "assistant_only_loss", "pad_to_multiple_of", "dataset_text_field", "shuffle_dataset", "activation_checkpointing",
     "disable_tqdm", "fsdp", "use_cpu", "local_rank", "resume_from_checkpoint", "do_train", "do_eval", "do_predict")
)  # fmt: skip


def plan_of(
    job: Job,
    *,
    model_path: str | None = None,
    data: str | None = None,
    eval_data: str | None = None,
    output: str | None = None,
    skip_bad_rows: bool = False,
    num_processes: int = 1,
    shard_group: int | None = None,
) -> Plan:
    """Return the plan of a job whose config parses.

    `model_path`, `data` and `output` stand in for Kaito's `/workspace/tfs/weights`, `/mnt/data` and the output
    folder. Raises `PlanError` for what no run can have.
    """
    for refusal in refusals(job):
        raise _refusal(job, refusal.section, refusal.option, str(refusal))
    try:
        plan = Plan(
            name=job.manifest.ref.name or "tuning",
            model=_model(job, model_path),
            quantization=_quantization(job),
            lora=_lora(job),
            data=_data(job, data, eval_data, skip_bad_rows),
            training=_training(job),
            output=OutputPlan(path=_output_path(job, output)),
            num_processes=num_processes,
            sharding=_sharding(job),  # type: ignore[arg-type]  # pydantic judges
            shard_group=shard_group,
            provenance=_provenance(job),
        )
        model, gpu = job.model, job.gpu
        return with_prediction(plan, model.value if model else None, gpu.value if gpu else None)
    except ValidationError as error:
        path = job.manifest.source.path
        raise PlanError(f"{path}: {describe_first(error)}", path=path) from error


def _sharding(job: Job) -> str:
    """Resolve the sharding by the manifest's `fsdp`."""
    request = request_in(job.value("TrainingArguments", "fsdp"))
    return request.word if request is not None else AS_THE_STACK_DOES.word


def _model(job: Job, model_path: str | None) -> ModelPlan:
    if job.flag("ModelConfig", "trust_remote_code"):
        raise _refusal(
            job, "ModelConfig", "trust_remote_code", "`trust_remote_code` is not supported: a model's code is not run"
        )
    attention = _text(job, "ModelConfig", "attn_implementation") or job.assumptions.attention or "auto"
    return ModelPlan(
        path=model_path or _text(job, "ModelConfig", "pretrained_model_name_or_path") or "/workspace/tfs/weights",
        revision=_text(job, "ModelConfig", "revision") or "main",
        dtype=_dtype(job, "ModelConfig", "torch_dtype", get_args(DtypeName)),
        attention="flash" if attention.startswith("flash") else attention,  # type: ignore[arg-type]  # pydantic judges
        chat_template=_text(job, "ModelConfig", "chat_template"),
    )


def _quantization(job: Job) -> QuantizationPlan:
    method = quantization_of(job)
    if method is Quantization.NONE:
        return QuantizationPlan(kbit_prep=False)
    threshold = job.value("QuantizationConfig", "llm_int8_threshold")
    return QuantizationPlan(
        method=method.value,
        compute_dtype=_dtype(job, "QuantizationConfig", "bnb_4bit_compute_dtype", get_args(ComputeDtypeName)),
        double_quant=job.flag("QuantizationConfig", "bnb_4bit_use_double_quant"),
        int8_threshold=threshold if isinstance(threshold, (int, float)) else 6.0,
        skip_modules=_names(job, "QuantizationConfig", "llm_int8_skip_modules"),
    )


def _lora(job: Job) -> LoraPlan:
    values = {
        name: value
        for name in LoraPlan.model_fields
        if (value := job.value("LoraConfig", name)) is not None and value != []
    }
    targets = _names(job, "LoraConfig", "target_modules")
    values["target_modules"] = targets if targets not in ((), ("all-linear",)) else None
    return LoraPlan.model_validate(values)


def _data(job: Job, data: str | None, eval_data: str | None, skip_bad_rows: bool) -> DataPlan:
    share = job.setting("DatasetConfig", "train_test_split")
    if eval_data is not None and share.is_stated and share.value != 1:
        what = "`train_test_split` holds out rows for evaluation, and --eval-data names others: use one of them"
        raise _refusal(job, "DatasetConfig", "train_test_split", what)
    messages = _stated_text(job, "DatasetConfig", "messages_column")
    context = _stated_text(job, "DatasetConfig", "context_column")
    response = _stated_text(job, "DatasetConfig", "response_column")
    text = _stated_text(job, "TrainingArguments", "dataset_text_field") or (response if context is None else None)
    return DataPlan(
        paths=_data_paths(job, data),
        format=_data_format(job),
        text_column=text,
        prompt_column=context,
        completion_column=response if context is not None else None,
        messages_column=messages,
        eval_paths=(eval_data,) if eval_data is not None else (),
        train_fraction=_train_fraction(job) if eval_data is None else 1.0,
        shuffle=job.flag("DatasetConfig", "shuffle_dataset"),
        shuffle_seed=job.integer("DatasetConfig", "shuffle_seed", 42),
        pad_to_multiple_of=_pad_to_multiple_of(job),
        skip_bad_rows=skip_bad_rows,
        completion_only_loss=_stated_flag(job, "completion_only_loss"),
        assistant_only_loss=_stated_flag(job, "assistant_only_loss"),
        **_training_values(job, "max_length", "truncation_mode", "packing", "packing_strategy"),
    )  # fmt: skip


def _data_paths(job: Job, data: str | None) -> tuple[str, ...]:
    """Resolve the data folder: `data`, or where Kaito mounts or downloads it."""
    written = _stated_text(job, "DatasetConfig", "dataset_path")
    if written is None:
        return (data,) if data is not None else _urls(job) or (DATA_ROOT,)
    inside = posixpath.normpath(posixpath.join(MOUNT_ROOT, written.lstrip("/")))
    if data is None:
        return (inside,)
    if os.path.isfile(data) or inside == DATA_ROOT:
        return (data,)
    return (os.path.join(data, posixpath.relpath(inside, DATA_ROOT if inside.startswith(DATA_ROOT) else MOUNT_ROOT)),)


def _output_path(job: Job, output: str | None) -> str:
    """Resolve the output folder: the option, else the manifest's path below Kaito's mount or the working folder.

    A run replaces what it finds there, so a manifest cannot name any other folder of the machine.
    """
    written = output or _text(job, "TrainingArguments", "output_dir") or "output"
    if output is None and leaves_mount(written):
        what = f"`output_dir: {written}` leaves {MOUNT_ROOT}; name a folder with --output"
        raise _refusal(job, "TrainingArguments", "output_dir", what)
    return written


def _urls(job: Job) -> tuple[str, ...]:
    if job.workspace is None:
        return ()
    return tuple(item.text for item in job.workspace.fields("tuning", "input", "urls") if item.text)


def _data_format(job: Job) -> Any:
    written = _stated_text(job, "DatasetConfig", "dataset_extension")
    return DATA_FORMATS[written.lower().lstrip(".")] if written is not None else None


def _train_fraction(job: Job) -> float:
    """Return the share of rows to train on: all of them when nothing is said and nothing evaluates."""
    setting = job.setting("DatasetConfig", "train_test_split")
    evaluates = job.value("TrainingArguments", "eval_strategy") not in (None, "no")
    is_number = isinstance(setting.value, (int, float)) and (setting.is_stated or evaluates)
    return float(str(setting.value)) if is_number else 1.0


def _pad_to_multiple_of(job: Job) -> int | None:
    for section in ("TrainingArguments", "DataCollator"):
        value = job.value(section, "pad_to_multiple_of")
        if str(value).isdigit():
            return int(str(value))
    return None


def _training(job: Job) -> TrainingPlan:
    """Return the training loop; secrets stay behind, for a plan is printed and put into ConfigMaps, and needs none."""
    known = [name for name in TrainingPlan.model_fields if name not in ("report_to", "extra_training_arguments")]
    values = _training_values(job, *known)
    if values.get("loss_type") == "chunked_nll":
        values["loss_type"] = "nll"
    values["report_to"] = tuple(name for name in _names(job, "TrainingArguments", "report_to") if name != "none")
    values["warmup_steps"] = _warmup_steps(job, values.get("warmup_steps"))
    skipped = {*known, *_PLANNED_ELSEWHERE, "report_to", "warmup_ratio"}
    values["extra_training_arguments"] = {
        name: _stated(job.value("TrainingArguments", name))
        for name in job.parsed["TrainingArguments"].values
        if name not in skipped and not is_secret(name) and job.setting("TrainingArguments", name).is_stated
    }
    return TrainingPlan.model_validate(values)


def _warmup_steps(job: Job, steps: Any) -> Any:
    """Return the warmup as steps, or as a share of them below 1, which `warmup_ratio` is.

    A ratio overrides steps in transformers 5, steps that are not 0 a ratio before.
    """
    ratio = job.setting("TrainingArguments", "warmup_ratio")
    if not ratio.is_stated or ratio.value is None or (steps and not job.release.has_sft_config):
        return steps
    if isinstance(ratio.value, (int, float)) and ratio.value < 0:
        raise _refusal(job, "TrainingArguments", "warmup_ratio", f"`warmup_ratio: {ratio.value}` must be 0 or above")
    return ratio.value


def _stated(value: object) -> object:
    """Return a value as a plan keeps it: a mapping as the JSON text that it was."""
    return json.dumps(value) if isinstance(value, dict) else value


def _training_values(job: Job, *names: str) -> dict[str, Any]:
    parsed = job.parsed["TrainingArguments"].values
    return {name: parsed[name].value for name in names if name in parsed}


def _provenance(job: Job) -> Provenance:
    def name(manifest: Any) -> str:
        return f"{manifest.ref.namespace}/{manifest.ref.name}".lstrip("/") if manifest is not None else ""

    return Provenance(
        kaitoc_version=__version__,
        manifest=job.manifest.source.path,
        workspace=name(job.workspace),
        config_map=name(job.config_map),
        preset=job.preset.value if job.preset is not None else "",
        gpu=job.gpu.value.name if job.gpu is not None else "",
        kaito_release=job.release.name,
    )


def _dtype(job: Job, section: str, name: str, known: tuple[str, ...]) -> Any:
    written = job.value(section, name)
    dtype = DTYPE_ALIASES.get(written, written) if written is None or isinstance(written, str) else written
    if dtype not in known:
        raise _refusal(job, section, name, f"`{name}: {written}` is not one of {', '.join(known)}")
    return dtype


def _text(job: Job, section: str, name: str) -> str | None:
    value = job.value(section, name)
    return value if isinstance(value, str) and value else None


def _stated_text(job: Job, section: str, name: str) -> str | None:
    return _text(job, section, name) if job.setting(section, name).is_stated else None


def _stated_flag(job: Job, name: str) -> bool | None:
    setting = job.setting("TrainingArguments", name)
    return setting.value is True if setting.is_stated else None


def _names(job: Job, section: str, name: str) -> tuple[str, ...]:
    value = job.value(section, name)
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _refusal(job: Job, section: str, name: str, what: str) -> PlanError:
    """Return the error for an option that no run can follow, with the option's place."""
    option = job.option(section, name)
    place = job.place_of(option) if option is not None else job.section_place(section)
    path = job.manifest.source.path
    start = place.source.position(place.span.start)
    return PlanError(f"{path}: {what}", path=place.source.path, line=start.line, column=start.column)
