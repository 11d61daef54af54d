"""Packed documents that attend to each other."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.packing import SHARED_STRATEGY, is_known_to_leak
from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import attention_of
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option, is_on_kaito, uses_sft_config

CODE = "KT477"
NAME = "leaking-packing"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_SECTION = "TrainingArguments"


def check(job: Job) -> Iterator[Fault]:
    """Yield packing that lets a document's tokens attend to the document before it; as `wrapped` promises, a hint."""
    packing, padding_free = flag_option(job, _SECTION, "packing"), flag_option(job, _SECTION, "padding_free")
    if packing is not None and job.value(_SECTION, "packing_strategy") == SHARED_STRATEGY:
        if uses_sft_config(job):
            yield Fault(
                job.place_of(packing),
                f"packed documents attend to each other: `{SHARED_STRATEGY}` ignores their boundaries, and "
                "Kaito's image has no other packing",
                help="remove `packing` to train each document on its own",
                severity=Severity.INFO,
            )
        return
    model = job.model.value if job.model is not None else None
    option = packing or padding_free
    if option is None or is_on_kaito(job) or model is None:
        return
    if is_known_to_leak(model.model_type, attention_of(job).value):
        yield Fault(
            job.place_of(option),
            f"`{option.name}: true` lets documents attend to each other: {model.model_type} models ignore "
            "the boundaries of packed documents, so `kaitoc run` refuses it",
            help=f"write `{option.name}: false`",
            fix=setting_fix(job, _SECTION, option.name, False, f"Turn `{option.name}` off", Applicability.UNSAFE),
        )
