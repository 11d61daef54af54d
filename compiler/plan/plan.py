"""The plan: the frozen, fully resolved description of one fine-tune, and all that the runtime is given.

Field names are those of the libraries that read them (trl's `SFTConfig`, peft's `LoraConfig`, transformers'
`BitsAndBytesConfig`), so that a plan can be read beside their documentation.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.faulty_values import describe_fault
from kaitoc.compiler.memory.sharding.model import MAX_GPUS
from kaitoc.compiler.memory.sharing import EARLIER_NAMES

PLAN_VERSION: Literal[1] = 1

Scalar = bool | int | float | str | None
InitName = Annotated[str, Field(pattern=r"^(gaussian|pissa(_niter_[1-9][0-9]?)?)$")]
Settings = dict[str, Scalar | list[Scalar] | dict[str, Scalar]]
"""What a manifest gives as JSON text, such as `lr_scheduler_kwargs`."""
DtypeName = Literal["auto", "float32", "float16", "bfloat16"]
ComputeDtypeName = Literal["float32", "float16", "bfloat16"]
IntervalStrategy = Literal["no", "steps", "epoch"]


class PlanError(KaitocError, ValueError):
    """A plan that cannot be read; `str(error)` is for the user."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelPlan(_Part):
    """Where the weights are and how they are loaded. `path` is a folder or a hub id; remote code is never run.

    `allow_pickle` takes weights that are no safetensors, by PyTorch's restricted unpickler. `hub` lets the runtime ask
    the Hugging Face Hub; without it no request leaves, and a hub's model is loaded from the cache.
    """

    path: str
    revision: str = "main"
    dtype: DtypeName = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash"] = "auto"
    chat_template: str | None = Field(default=None, description="Path of a Jinja file, or the template itself.")
    trust_remote_code: Literal[False] = False
    allow_pickle: bool = False
    hub: bool = False


class QuantizationPlan(_Part):
    """How the frozen weights are stored; `kbit_prep` is whether peft's `prepare_model_for_kbit_training` runs."""

    method: Literal["none", "nf4", "fp4", "int8"] = "none"
    compute_dtype: ComputeDtypeName = "bfloat16"
    double_quant: bool = False
    int8_threshold: float = Field(default=6.0, ge=0)
    skip_modules: tuple[str, ...] = ()
    kbit_prep: bool = True


class LoraPlan(_Part):
    """A LoRA adapter; `target_modules` None leaves the choice to the runtime, which takes every linear layer."""

    r: int = Field(default=8, ge=1)
    lora_alpha: float = 8
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | None = None
    exclude_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | InitName = True
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}

    @model_validator(mode="after")
    def _layers_are_those_of_named_modules(self) -> LoraPlan:
        """Refuse what PEFT's own config refuses (peft/tuners/lora/config.py, `LoraConfig.__post_init__`)."""
        if (self.layers_to_transform or self.layers_pattern) and self.target_modules is None:
            raise ValueError("`layers_to_transform` needs `target_modules`: name the modules to adapt in those layers")
        if self.layers_pattern and not self.layers_to_transform:
            raise ValueError("`layers_pattern` needs `layers_to_transform`: the numbers of the layers to adapt")
        return self


class DataPlan(_Part):
    """What is learned from. Columns that are None are found by their usual names.

    `paths` are files, folders or http(s) addresses, all of which are read. `eval_paths` are for evaluation alone;
    without them `train_fraction` of the rows is trained on, the rest is for evaluation. Prompts and the user's turns
    carry no loss, unless `completion_only_loss` or `assistant_only_loss` is false. `pad_to_multiple_of` None pads
    to the longest of a batch.
    """

    paths: tuple[str, ...]
    eval_paths: tuple[str, ...] = ()
    format: Literal["csv", "json", "parquet", "arrow", "text"] | None = None
    text_column: str | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    messages_column: str | None = None
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    shuffle: bool = True
    shuffle_seed: int = Field(default=42, ge=0)
    max_length: int | None = Field(default=1024, ge=1)
    truncation_mode: Literal["keep_start", "keep_end"] = "keep_start"
    packing: bool = False
    packing_strategy: Literal["bfd", "bfd_split", "wrapped"] = "bfd"
    completion_only_loss: bool | None = None
    assistant_only_loss: bool | None = None
    pad_to_multiple_of: int | None = Field(default=None, ge=1)
    skip_bad_rows: bool = False


class TrainingPlan(_Part):
    """The training loop, by the names of trl's `SFTConfig`.

    `extra_training_arguments` holds what else the manifest states; the runtime validates each key before it starts.
    """

    num_train_epochs: float = Field(default=3.0, gt=0)
    max_steps: int = Field(default=-1, ge=-1)
    per_device_train_batch_size: int = Field(default=8, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-5, ge=0)
    lr_scheduler_type: str = "linear"
    warmup_steps: float = Field(default=0, ge=0)
    optim: str = "adamw_torch_fused"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    gradient_checkpointing: bool = True
    bf16: bool = True
    fp16: bool = False
    tf32: bool | None = None
    loss_type: Literal["nll", "dft"] = "nll"
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] = "random"
    dataloader_num_workers: int = Field(default=0, ge=0)
    seed: int = Field(default=42, ge=0, lt=2**32)
    data_seed: int | None = None
    full_determinism: bool = False
    logging_steps: float = Field(default=10, gt=0)
    save_strategy: IntervalStrategy | Literal["best"] = "steps"
    save_steps: float = Field(default=500, gt=0)
    save_total_limit: int | None = Field(default=None, ge=1)
    eval_strategy: IntervalStrategy = "no"
    eval_steps: float | None = None
    per_device_eval_batch_size: int = Field(default=8, ge=1)
    load_best_model_at_end: bool = False
    early_stopping_patience: int | None = Field(default=None, ge=1)
    report_to: tuple[str, ...] = ()
    extra_training_arguments: dict[str, Scalar | list[Scalar] | Settings] = {}

    @model_validator(mode="after")
    def _one_precision(self) -> TrainingPlan:
        if self.bf16 and self.fp16:
            raise ValueError("`bf16` and `fp16` are mutually exclusive")
        return self


class DpoPlan(_Part):
    """Direct preference optimization (TRL's `DPOConfig`): a larger `beta` stays closer to the base model."""

    beta: float = Field(default=0.1, gt=0)


class OutputPlan(_Part):
    """Where results go: `path` is a folder; `merge` also writes the base model with the adapter merged into it.

    `oci_layout` also packs the adapter as an OCI image layout. `samples` is how many rows the model answers after
    training, for the report.
    """

    path: str
    merge: bool = False
    oci_layout: bool = False
    samples: int = Field(default=0, ge=0)


class FootprintPlan(_Part):
    """The peak that the memory engine predicts for the manifest's model and GPU, in bytes."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    workspace: int
    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    num_trainable_parameters: int


class Provenance(_Part):
    """Where the plan comes from, so that a result can be traced to its manifest.

    `base_fingerprint` tells the base model's weights from others', as the runtime found them; "" is not known.
    """

    kaitoc_version: str
    manifest: str = ""
    workspace: str = ""
    config_map: str = ""
    preset: str = ""
    gpu: str = ""
    kaito_release: str = ""
    base_fingerprint: str = ""


class Plan(_Part):
    """One fine-tune, fully resolved. `lora` None trains every weight; `dpo` None learns text, not preferences."""

    version: Literal[1] = PLAN_VERSION
    name: str
    model: ModelPlan
    quantization: QuantizationPlan = QuantizationPlan()
    lora: LoraPlan | None
    data: DataPlan
    training: TrainingPlan = TrainingPlan()
    dpo: DpoPlan | None = None
    output: OutputPlan
    num_processes: int = Field(default=1, ge=1, le=MAX_GPUS, description="One process per GPU.")
    sharding: Literal["auto", "ddp", "fsdp2", "fsdp1", "zero3"] = Field(
        default="auto",
        description="Whether each process holds a whole copy (ddp) or a shard (fsdp2); auto shards what outgrows a "
        "GPU. The bundled runtime takes neither fsdp1 nor zero3; fsdp is an earlier name of fsdp2.",
    )
    num_nodes: int = Field(
        default=1, ge=1, le=MAX_GPUS, description="Machines that the processes run on, as many on each."
    )
    shard_group: int | None = Field(
        default=None,
        ge=2,
        description="Processes that hold one copy of a sharded model together; several groups are replicas of each "
        "other (hybrid sharding). Null is all processes, or with auto those of a node where one copy fits on it.",
    )
    predicted: FootprintPlan | None = None
    provenance: Provenance

    @field_validator("sharding", mode="before")
    @classmethod
    def _present_name(cls, value: Any) -> Any:
        return EARLIER_NAMES.get(value, value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _quantized_weights_need_an_adapter(self) -> Plan:
        if self.lora is None and self.quantization.method != "none":
            raise ValueError("quantized weights cannot be trained; use LoRA or leave them unquantized")
        return self

    @model_validator(mode="after")
    def _pissa_is_taken_from_weights(self) -> Plan:
        if self.lora is None or not str(self.lora.init_lora_weights).startswith("pissa"):
            return self
        if self.quantization.method != "none" or self.lora.use_dora:
            raise ValueError("PiSSA takes its adapter from unquantized weights, and is incompatible with DoRA")
        return self

    @model_validator(mode="after")
    def _preferences_train_a_new_adapter(self) -> Plan:
        """Refuse what leaves no reference: the base model is the one, as long as the adapter begins without effect."""
        if self.dpo is None:
            return self
        if self.lora is None or self.lora.init_lora_weights not in (True, "gaussian"):
            raise ValueError("dpo needs a LoRA adapter that starts without effect: `init_lora_weights: true`")
        groups = self.training.train_sampling_strategy == "group_by_length"
        if self.data.packing or self.training.loss_type != "nll" or groups:
            raise ValueError("dpo is incompatible with `packing`, `loss_type` and `group_by_length`")
        return self

    @property
    def sequences_per_batch(self) -> int:
        """Count the rows per batch and process; a preference pair is two rows."""
        return self.training.per_device_train_batch_size * (1 if self.dpo is None else 2)

    @property
    def method(self) -> Literal["lora", "qlora", "full"]:
        """Classify the method by adapter and quantization."""
        if self.lora is None:
            return "full"
        return "lora" if self.quantization.method == "none" else "qlora"

    def to_json(self) -> str:
        """Return the plan as the JSON text that `read_plan` reads."""
        return self.model_dump_json(indent=2) + "\n"


def preferring(plan: Plan, name: str = "plan") -> Plan:
    """Return a plan that learns from `chosen` and `rejected` answers; raises `PlanError` for one that cannot."""
    return read_plan(plan.model_copy(update={"dpo": DpoPlan()}).to_json(), name)


def read_plan(text: str, name: str = "plan") -> Plan:
    """Read a plan from JSON; raises `PlanError`, in which `name` stands for the text."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"{name}: not JSON: {error}", path=name, line=error.lineno, column=error.colno) from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{name}: not JSON: {error}", path=name) from error
    if not isinstance(content, dict):
        raise PlanError(f"{name}: a plan is a JSON object", path=name)
    if content.get("version") != PLAN_VERSION or isinstance(content.get("version"), bool):
        version = content.get("version")
        what = f"plan version {version!r} is not supported; this kaitoc reads version {PLAN_VERSION}"
        raise PlanError(f"{name}: {what}", path=name)
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        raise PlanError(f"{name}: {describe_first(error)}", path=name) from error


def describe_first(error: ValidationError) -> str:
    """Return the first thing that is wrong with a plan, in words."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = describe_fault(first)
    return f"`{where}`: {message}" if where else message
