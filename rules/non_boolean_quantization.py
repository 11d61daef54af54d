"""A quantization switch that is not a YAML boolean."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.manifest.training_config import Option

CODE = "KT325"
NAME = "non-boolean-quantization"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if job.config is None or not job.config.is_readable or job.uses_template or job.target is Target.BUNDLED:
        return
    for name in ("load_in_4bit", "load_in_8bit"):
        option = job.config.option("QuantizationConfig", name)
        if option is not None and not isinstance(option.plain, (bool, type(None))):
            yield Fault(
                option.value,
                f"Kaito's webhook takes only true or false for `{name}`, without quotes, and refuses the Workspace",
                fix=_fix(job, option),
            )


def _fix(job: Job, option: Option) -> Fix | None:
    meant = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        str(option.plain).lower()
    )
    if meant is None or job.config is None or not job.config.is_editable:
        return None
    edit = replace_value(job.config, option, meant)
    return Fix(f"Write `{str(meant).lower()}`", Applicability.SAFE, (edit,))
