"""8-bit weights, which this release's PEFT cannot train on."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.config_edits import set_options
from kaitoc.rules._hazards import AFTER_LOADING, flag_option, is_on_kaito

CODE = "KT413"
NAME = "eight-bit-training"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when weights are loaded in 8 bits."""
    option = flag_option(job, "QuantizationConfig", "load_in_8bit")
    if option is None or not is_on_kaito(job) or job.flag("QuantizationConfig", "load_in_4bit"):
        return
    yield Fault(
        job.place_of(option),
        f"`load_in_8bit: true` crashes: PEFT {job.release.peft} reads a field that bitsandbytes "
        f"{job.release.bitsandbytes} no longer has, so {AFTER_LOADING}",
        help="write `load_in_4bit: true`, `bnb_4bit_quant_type: nf4` and `bnb_4bit_compute_dtype: bfloat16` instead",
        fix=_fix(job),
    )


def _fix(job: Job) -> Fix | None:
    config = job.config
    if config is None or not config.is_editable or config.option("QuantizationConfig", "load_in_8bit") is None:
        return None
    values: dict[str, object] = {"load_in_8bit": False, "load_in_4bit": True}
    edits = set_options(config, "QuantizationConfig", values)
    return Fix("Load the weights in 4 bits", Applicability.UNSAFE, edits)
