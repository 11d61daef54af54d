"""Whether the constants of 4-bit blocks are quantized too."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.workload import Quantization, Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question, writes
from kaitoc.compiler.passes.model import Preserves
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def _present(workload: Workload) -> bool:
    return workload.double_quant


def _alternatives(question: Question) -> Iterator[Alternative[bool]]:
    workload = question.run.workload
    if workload.quantization in (Quantization.NF4, Quantization.FP4) and not workload.double_quant:
        yield Alternative(True, Preserves.STATISTICAL)


def _apply(_: Situation, workload: Workload, value: bool) -> Workload:
    return replace(workload, double_quant=value)


CHOICE = Choice(
    name="double quantization",
    fit_reason="the constants of the 4-bit blocks are quantized too",
    speed_reason="there is room for unquantized constants, which need no dequantizing",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=writes("QuantizationConfig", "bnb_4bit_use_double_quant"),
)
