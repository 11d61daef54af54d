"""The plan: the frozen, fully resolved description that the runtime executes.

A plan is JSON (`schemas/plan.json`). It holds no YAML, no spans and no Kaito paths: everything is decided.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

PLAN_VERSION = 1


class PlanError(ValueError):
    """A plan that cannot be executed; `str(error)` is for the user."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Dtype = Literal["float32", "float16", "bfloat16"]
Positive = Annotated[int, Field(ge=1)]


class ModelPlan(_Part):
    """Which model, and how it is loaded. `path` is a folder, or a hub id that the local cache holds."""

    path: str
    revision: str = "main"
    dtype: Dtype = "bfloat16"
    attention: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    chat_template: str | None = None
    trust_remote_code: bool = False


class QuantizationPlan(_Part):
    """How the frozen weights are stored."""

    kind: Literal["none", "nf4", "fp4", "int8"] = "none"
    compute_dtype: Dtype = "bfloat16"
    double_quant: bool = False


class LoraPlan(_Part):
    """The adapter. `targets` are module names, or the one word `all-linear`."""

    rank: Positive = 8
    alpha: float = 8.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: tuple[str, ...] = ()


class DataPlan(_Part):
    """Where the rows are and how they become tokens. `train_share` 1 keeps nothing back for evaluation."""

    paths: tuple[str, ...]
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    shuffle: bool = True
    shuffle_seed: int = 42
    max_length_tokens: Positive | None = 1024
    packing: bool = False


class TrainingPlan(_Part):
    """How long, how fast and in which steps. `extra` holds further keys of TRL's SFTConfig, checked when it runs."""

    num_epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: int = -1
    batch_size: Positive = 1
    eval_batch_size: Positive = 1
    accumulation_steps: Positive = 1
    learning_rate: Annotated[float, Field(ge=0)] = 2e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optimizer: str = "adamw_torch_fused"
    gradient_checkpointing: bool = True
    mixed_precision: Literal["no", "fp16", "bf16"] = "bf16"
    seed: int = 42
    logging_steps: Annotated[float, Field(gt=0)] = 10
    save_strategy: Literal["no", "steps", "epoch", "best"] = "no"
    save_steps: Annotated[float, Field(gt=0)] = 500
    eval_strategy: Literal["no", "steps", "epoch"] = "no"
    extra: dict[str, JsonValue] = Field(default_factory=dict)


class OutputPlan(_Part):
    """Where the adapter, the metrics and the report go."""

    folder: str


class FootprintPlan(_Part):
    """The predicted memory of one GPU in bytes, by category at the peak, and its totals."""

    categories: dict[str, int]
    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int


class ProvenancePlan(_Part):
    """What the plan was made from."""

    manifest: str
    workspace: str = ""
    config_map: str = ""
    kaito_release: str
    kaitoc_version: str


class Plan(_Part):
    """One fine-tune, ready to run."""

    version: Literal[1] = 1
    model: ModelPlan
    quantization: QuantizationPlan = QuantizationPlan()
    lora: LoraPlan | None = LoraPlan()
    data: DataPlan
    training: TrainingPlan = TrainingPlan()
    output: OutputPlan
    footprint: FootprintPlan | None = None
    provenance: ProvenancePlan | None = None


def parse_plan(text: str) -> Plan:
    """Read a plan from JSON; raises `PlanError` that says which field is wrong."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the plan is not JSON: {error}") from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != PLAN_VERSION:
        raise PlanError(f"the plan's version is {version!r}; this runtime executes version {PLAN_VERSION}")
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        faults = [f"{'.'.join(str(key) for key in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise PlanError("the plan is not valid: " + "; ".join(faults)) from error


def render_plan(plan: Plan) -> str:
    """Return a plan as JSON text that `parse_plan` reads back."""
    return plan.model_dump_json(indent=2) + "\n"
