"""From LoRA to QLoRA: other weights, so another result; a Workspace must change its method with it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.workload import Quantization, Workload
from kaitoc.compiler.passes.choices.checkpointing import runs_in_kaitos_image
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.options import set_several
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def _present(workload: Workload) -> Quantization:
    return workload.quantization


def _alternatives(question: Question) -> Iterator[Alternative[Quantization]]:
    workload = question.run.workload
    may_change = question.job.workspace is None or question.context.allow_workspace_edits
    if workload.quantization is Quantization.NONE and may_change and workload.lora is not None:
        yield Alternative(Quantization.NF4, Preserves.CHANGES)


def _apply(_: Situation, workload: Workload, value: Quantization) -> Workload:
    is_quantized = value is not Quantization.NONE
    return replace(
        workload,
        quantization=value,
        double_quant=is_quantized,
        kbit_prep=is_quantized,
        gradient_checkpointing=(is_quantized and runs_in_kaitos_image(workload)) or workload.gradient_checkpointing,
    )


def _change(question: Question, chosen: Alternative[Quantization], reason: str) -> Change:
    job = question.job
    values: dict[str, object] = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": chosen.value.value,
        "bnb_4bit_compute_dtype": "bfloat16" if question.run.gpu.has_bf16 else "float16",
        "bnb_4bit_use_double_quant": True,
    }
    return set_several(job, "QuantizationConfig", values, reason, chosen.preserves, _method_edits(job))


def _method_edits(job: Job) -> tuple[Edit, ...]:
    """Return the edit that gives a Workspace the method `qlora`, which Kaito's webhook wants beside 4-bit weights."""
    if job.method is None or job.method.place is None or job.method.value.lower() == "qlora":
        return ()
    place = job.method.place
    written = place.source.slice(place.span)
    quote = written[:1] if written[:1] in ("'", '"') else ""
    return (Edit(place.source, place.span, f"{quote}qlora{quote}"),)


CHOICE = Choice(
    name="quantization",
    fit_reason="frozen weights in 4-bit NormalFloat take a quarter of the memory",
    speed_reason="4-bit weights leave room for faster settings",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
