"""The report of a run: predicted beside measured memory, speed, loss, and what was trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from kaitoc.compiler.core.escape import printable, printable_lines
from kaitoc.compiler.core.units import GIB, MIB, format_gib

_MAX_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt, what the data answers, and what the model answers; `without_adapter` is None where all is trained."""

    prompt: str
    expected: str
    answer: str
    without_adapter: str | None

    def rows(self) -> list[tuple[str, str]]:
        """List the sample's parts with their display names."""
        base = [("without adapter", self.without_adapter)] if self.without_adapter is not None else []
        rows = [("prompt", self.prompt), ("expected", self.expected), *base, ("answer", self.answer)]
        return [(name, printable_lines(text)) for name, text in rows]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did. Bytes are None where they were not measured or not predicted.

    `measured_allocated_bytes` is `torch.cuda.max_memory_allocated` on a GPU and the peak of live tensors on a CPU.
    Device bytes are what this process takes of the GPU: what PyTorch reserves, and its CUDA context. Token losses are
    those of a mixture of experts without its router's loss, None for other models.
    """

    device: str
    num_steps: int
    num_examples: int
    num_truncated: int
    num_skipped: int
    num_trainable_parameters: int
    trainable_by_module: dict[str, int]
    first_loss: float | None
    last_loss: float | None
    seconds: float
    tokens_per_second: float
    predicted_allocated_bytes: int | None
    measured_allocated_bytes: int | None
    predicted_reserved_bytes: int | None
    measured_reserved_bytes: int | None
    predicted_device_bytes: int | None
    measured_device_bytes: int | None
    adapter_folder: str
    first_token_loss: float | None = None
    last_token_loss: float | None = None
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> str:
        """Render the report as indented JSON with its version."""
        return json.dumps({"version": 1, **asdict(self)}, indent=2) + "\n"

    def to_text(self) -> str:
        """Render the report as the table that ends a run's output, and its samples, each answer on a line."""
        answers = [
            f"{name:<18}{_cut(text)}".rstrip() for sample in self.samples for name, text in (("", ""), *sample.rows())
        ]
        return "\n".join([self.table(), *answers])

    def table(self) -> str:
        """Render what was trained, how fast and in how much memory."""
        rows = [
            ("steps", f"{self.num_steps:,} in {self.seconds:.1f} s, {self.tokens_per_second:,.0f} tokens/s"),
            ("examples", f"{self.num_examples:,}, {self.num_truncated} cut, {self.num_skipped} skipped"),
            ("loss", f"{_number(self.first_loss)} -> {_number(self.last_loss)}{self._token_losses()}"),
            ("trained", f"{self.num_trainable_parameters:,} parameters in {', '.join(self.trainable_by_module)}"),
            ("adapter", self.adapter_folder),
        ]
        facts = [f"{name:<10}{text}" for name, text in rows]
        memory = [
            f"{'memory':<22}{'predicted':>12}{'measured':>12}",
            _memory_row("allocated", self.predicted_allocated_bytes, self.measured_allocated_bytes),
        ]
        if self.measured_reserved_bytes is not None:
            memory.append(_memory_row("reserved", self.predicted_reserved_bytes, self.measured_reserved_bytes))
        if self.measured_device_bytes is not None:
            memory.append(_memory_row("device", self.predicted_device_bytes, self.measured_device_bytes))
        return "\n".join([*facts, "", *memory])

    def _token_losses(self) -> str:
        if self.first_token_loss is None:
            return ""
        return f"; without the router's: {_number(self.first_token_loss)} -> {_number(self.last_token_loss)}"


def _cut(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MAX_CHARACTERS else line[:_MAX_CHARACTERS] + "..."


def _memory_row(name: str, predicted_bytes: int | None, measured_bytes: int | None) -> str:
    return f"{name:<22}{_size(predicted_bytes):>12}{_size(measured_bytes):>12}"


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "-"
    return format_gib(num_bytes, 2) if num_bytes >= GIB else f"{num_bytes / MIB:.1f} MiB"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
