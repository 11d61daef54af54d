"""A method that is incompatible with the quantization: `lora` with it, or `qlora` without."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job, Setting
from kaitoc.compiler.manifest.config_edits import set_option
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.manifest.training_config import Option

CODE = "KT302"
NAME = "method-quantization-mismatch"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the Workspace's method and the ConfigMap's quantization contradict each other."""
    if job.method is None or job.method.place is None or job.uses_template or not job.parsed:
        return
    method = job.method.value.lower()
    quantized = [
        option
        for name in ("load_in_4bit", "load_in_8bit")
        if job.flag("QuantizationConfig", name) and (option := job.option("QuantizationConfig", name)) is not None
    ]
    if method == "lora" and quantized:
        yield _lora_with_quantization(job.method, quantized[0])
    elif method == "qlora" and not quantized:
        yield _qlora_without_quantization(job, job.method.place)


def _lora_with_quantization(method: Setting[str], option: Option) -> Fault:
    written = option.name
    if written == option.name.replace("-", "_") and written in ("load_in_4bit", "load_in_8bit"):
        effect = "Kaito's webhook refuses the Workspace"
    else:
        effect = f"the webhook does not know the spelling `{written}`, so QLoRA runs unnoticed"
    return Fault(
        option.key,
        f"the method is `lora` but the weights are quantized; {effect}",
        help="set `tuning.method: qlora`, or remove the quantization",
        related=(related("the method is chosen here", method.place),) if method.place is not None else (),
        fix=_method_fix(method, "qlora"),
    )


def _qlora_without_quantization(job: Job, place: Place) -> Fault:
    fix = None
    if job.config is not None and job.config.is_editable:
        edit = set_option(job.config, "QuantizationConfig", "load_in_4bit", True)
        fix = Fix("Load the weights in 4-bit", Applicability.UNSAFE, (edit,))
    return Fault(
        place,
        "the method is `qlora` but the ConfigMap does not quantize; Kaito's webhook refuses the Workspace",
        help="set `load_in_4bit: true` in QuantizationConfig, or use `tuning.method: lora`",
        related=(related("the configuration is here", job.section_place("QuantizationConfig")),),
        fix=fix,
    )


def _method_fix(method: Setting[str], value: str) -> Fix | None:
    if method.place is None:
        return None
    text = method.place.source.slice(method.place.span)
    quote = text[:1] if text[:1] in ("'", '"') else ""
    edit = Edit(method.place.source, method.place.span, f"{quote}{value}{quote}")
    return Fix(f"Use the method `{value}`", Applicability.UNSAFE, (edit,))
