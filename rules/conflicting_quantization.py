"""4-bit and 8-bit quantization requested at once."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job

CODE = "KT303"
NAME = "conflicting-quantization"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when both `load_in_4bit` and `load_in_8bit` are true."""
    if not (job.flag("QuantizationConfig", "load_in_4bit") and job.flag("QuantizationConfig", "load_in_8bit")):
        return
    four_bit = job.option("QuantizationConfig", "load_in_4bit")
    eight_bit = job.option("QuantizationConfig", "load_in_8bit")
    if four_bit is None or eight_bit is None:
        return
    yield Fault(
        eight_bit.key,
        "`load_in_4bit` and `load_in_8bit` are both true; Kaito's webhook refuses that",
        help="write `load_in_8bit: false`; Kaito's runtime cannot train on 8-bit weights",
        related=(related("4-bit is set here", four_bit.key),),
    )
