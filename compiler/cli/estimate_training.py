"""The options of `kaitoc estimate` that describe a fine-tune's training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.cli.option_records import first_given
from kaitoc.compiler.cli.option_types import Choice, Integer, Number
from kaitoc.compiler.cli.options import with_options
from kaitoc.compiler.core.records import dataclass, field_names
from kaitoc.compiler.job.bounds import SEQ_LEN_TOKENS
from kaitoc.compiler.memory.estimate import METHODS, NO_AUTOCAST
from kaitoc.compiler.memory.workload import Attention, Dtype, Loss, Optimizer, Quantization

F = TypeVar("F", bound=Callable[..., Any])

_DTYPES = Choice([dtype.value for dtype in Dtype])


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options of a training step; None leaves it to the method or to the stack."""

    method: str | None = None
    batch: int | None = None
    accumulation: int | None = None
    seq_len: int | None = None
    rank: int | None = None
    targets: str | None = None
    dropout: float | None = None
    dtype: str | None = None
    autocast: str | None = None
    checkpointing: bool | None = None
    attention: str | None = None
    loss: str | None = None
    liger_version: str | None = None
    optimizer: str | None = None
    optimizer_in_backward: bool = False
    activation_offload: bool = False
    quantization: str | None = None
    group_size: int | None = None
    double_quant: bool | None = None
    kbit_prep: bool | None = None
    adapter_dtype: str | None = None
    allocator: str | None = None
    padding: bool | None = None
    dora: bool = False
    modules_to_save: str | None = None

    @property
    def describing(self) -> str | None:
        """Return the first option given that a manifest answers by itself, None where there is none."""
        names = (name for name in field_names(TrainingOptions) if name != "seq_len")
        return first_given(self, TrainingOptions(), names)

    @property
    def of_adapters(self) -> str | None:
        """Return the first option given that only adapters have, None where there is none."""
        names = ("rank", "targets", "dropout", "adapter_dtype", "dora", "modules_to_save")
        return first_given(self, TrainingOptions(), names)

    @property
    def stated(self) -> dict[str, Any]:
        """Return the stated options by the fields of `FineTune`; the length of the rows is not the options' alone."""
        given: dict[str, Any] = {
            "method": self.method,
            "batch_size": self.batch,
            "rank": self.rank,
            "targets": _names(self.targets),
            "modules_to_save": _names(self.modules_to_save),
            "dropout": self.dropout,
            "dtype": self.dtype,
            "autocast": self.autocast,
            "adapter_dtype": self.adapter_dtype,
            "gradient_checkpointing": self.checkpointing,
            "attention": self.attention,
            "loss": self.loss,
            "liger_version": self.liger_version,
            "optimizer": self.optimizer,
            "steps_in_backward": self.optimizer_in_backward,
            "offloads_activations": self.activation_offload,
            "quantization": self.quantization,
            "group_size": self.group_size,
            "double_quant": self.double_quant,
            "kbit_prep": self.kbit_prep,
            "allocator": self.allocator,
            "is_padded": self.padding,
            "accumulation_steps": self.accumulation,
            "dora": self.dora,
        }
        return {name: value for name, value in given.items() if value is not None}


method_option = click.option("--method", type=Choice(METHODS),
                             help="Training method (default: lora).")  # fmt: skip
dora_option = click.option("--dora", is_flag=True, help="DoRA adapters.")
modules_to_save_option = click.option("--modules-to-save", metavar="M",
                                      help="Modules to train in full, in addition to the adapters.")  # fmt: skip
_STEP = (
    click.option(
        "--batch", type=Integer(min=1), metavar="N", help="Sequences, or pairs of them, per GPU and step (default: 1)."
    ),
    click.option("--accumulation", type=Integer(min=1), metavar="N", help="Batches per update (default: 1)."),
    click.option(
        "--seq-len",
        type=Integer(1, int(SEQ_LEN_TOKENS.most)),
        metavar="N",
        help="Tokens per sequence (default: 1024).",
    ),
    click.option("--rank", type=Integer(min=1), metavar="N", help="Rank of the adapters (default: 8)."),
    click.option("--targets", metavar="A,B", help="Modules that get adapters (default: all-linear)."),
    click.option(
        "--dropout",
        type=Number(0, 1, max_open=True),
        metavar="P",
        help="Dropout of the adapters (default: 0).",
    ),
    click.option("--dtype", type=_DTYPES, help="Type of the weights (default: bfloat16)."),
    click.option(
        "--autocast",
        type=Choice([NO_AUTOCAST, Dtype.FLOAT16.value, Dtype.BFLOAT16.value]),
        help="Mixed precision, `fp16` or `bf16` of the Trainer (default: the stack's).",
    ),
    click.option(
        "--checkpointing/--no-checkpointing", default=None, help="Gradient checkpointing (default: the stack's)."
    ),
    click.option(
        "--activation-offload",
        is_flag=True,
        help="Keep saved activations in host memory (activation_offloading of TRL).",
    ),
    click.option(
        "--attention", type=Choice([one.value for one in Attention]), help="Attention kernel (default: sdpa)."
    ),
    click.option(
        "--loss",
        type=Choice([one.value for one in Loss]),
        help="Implementation of the loss (default: the stack's).",
    ),
    click.option(
        "--liger-version",
        metavar="V",
        help="Version of liger-kernel for --loss liger, such as 0.5.2 (default: the newest known).",
    ),
    click.option(
        "--optimizer", type=Choice([one.value for one in Optimizer]), help="Optimizer (default: the stack's)."
    ),
    click.option(
        "--optimizer-in-backward",
        is_flag=True,
        help="Step each parameter as soon as its gradient is ready, and free the gradient.",
    ),
    click.option(
        "--quantization",
        type=Choice([one.value for one in Quantization]),
        help="Storage of the frozen weights (default: nf4 for qlora).",
    ),
    click.option(
        "--group-size",
        type=Integer(min=-1),
        metavar="N",
        help="Rows per scale of GPTQ and AWQ weights, -1 for whole columns (default: the checkpoint's, 128).",
    ),
    click.option(
        "--double-quant/--no-double-quant", default=None, help="Also quantize the constants of 4-bit weights."
    ),
    click.option(
        "--kbit-prep/--no-kbit-prep",
        default=None,
        help="Run PEFT's prepare_model_for_kbit_training (default: with qlora).",
    ),
    click.option("--adapter-dtype", type=_DTYPES, help="Type of the adapters (default: the stack's)."),
    click.option(
        "--allocator",
        type=Choice(["default", "expandable"]),
        help="PyTorch's allocator, without or with expandable segments (default: the stack's).",
    ),
    click.option(
        "--padding/--no-padding", default=None, help="Whether batches are padded, which adds an attention mask."
    ),
)


def step_options(command: F) -> F:
    """Add the options of `TrainingOptions` that follow `--task`, from the batch to its padding."""
    return with_options(command, _STEP)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None
