"""Make QLoRA what it is taken for: 4-bit NormalFloat weights, computed in half precision."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.repairs import compute_dtype_name
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-quantization"

_SECTION = "QuantizationConfig"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield 4-bit in place of Kaito's broken 8-bit, then the type of the weights and that of the computation."""
    if not job.is_parsable:
        return
    if job.target is Target.KAITO and job.flag(_SECTION, "load_in_8bit"):
        yield from _in_4bit(job)
        return
    if not job.flag(_SECTION, "load_in_4bit"):
        return
    for change in (*_quant_type(job), *_compute_dtype(job)):
        if context.preserve.allows(change.preserves):
            yield change


def _in_4bit(job: Job) -> Iterator[Change]:
    reason = (
        f"PEFT {job.release.peft} does not know the 8-bit layers of bitsandbytes {job.release.bitsandbytes}: it stops"
    )
    if job.flag(_SECTION, "load_in_4bit"):
        yield set_to(job, _SECTION, "load_in_8bit", False, reason, Preserves.INTENT)
    else:
        yield set_to(job, _SECTION, "load_in_4bit", True, reason, Preserves.INTENT)


def _quant_type(job: Job) -> Iterator[Change]:
    value = job.value(_SECTION, "bnb_4bit_quant_type")
    if value == "nf4" or (value == "fp4" and job.option(_SECTION, "bnb_4bit_quant_type") is not None):
        return
    if value == "fp4":
        reason = "the default is fp4, which loses more than nf4 on normally distributed weights (arXiv:2305.14314)"
        yield set_to(job, _SECTION, "bnb_4bit_quant_type", "nf4", reason, Preserves.STATISTICAL)
    elif str(value).lower() in ("nf4", "fp4"):
        reason = "bitsandbytes takes the name in lower case only and stops while the model loads"
        yield set_to(job, _SECTION, "bnb_4bit_quant_type", str(value).lower(), reason, Preserves.INTENT)


def _compute_dtype(job: Job) -> Iterator[Change]:
    value = job.value(_SECTION, "bnb_4bit_compute_dtype")
    meant = compute_dtype_name(job, value)
    if meant is None:
        return
    if job.option(_SECTION, "bnb_4bit_compute_dtype") is None:
        reason = "the default is float32: every matrix product runs without tensor cores"
        yield set_to(job, _SECTION, "bnb_4bit_compute_dtype", meant, reason, Preserves.STATISTICAL)
    else:
        reason = f"`{value}` is not the name of a torch type: loading the model stops"
        yield set_to(job, _SECTION, "bnb_4bit_compute_dtype", meant, reason, Preserves.INTENT)
