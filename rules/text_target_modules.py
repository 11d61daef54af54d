"""`target_modules` as one string: a pattern, a list in a string, or `all-linear`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT449"
NAME = "text-target-modules"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_SPECIAL = frozenset("*()[]|^$+?\\,; ")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a single name cannot be that of a layer; with a known model KT401 says so, with its layers."""
    option, value = job.option("LoraConfig", "target_modules"), job.value("LoraConfig", "target_modules")
    if option is None or not is_on_kaito(job) or job.model is not None or not isinstance(value, (list, tuple)):
        return
    text = str(value[0]) if len(value) == 1 else ""
    if text != "all-linear" and not _SPECIAL & set(text):
        return
    names = text.replace(",", " ").split()
    is_list = len(names) > 1 and all(name.isidentifier() for name in names)
    yield Fault(
        job.place_of(option),
        f"`{text}` becomes a list of one name, which no layer has: PEFT finds no target module and the job stops",
        help=f"write `[{', '.join(names)}]`" if is_list else "list the layers by name",
        fix=setting_fix(job, "LoraConfig", "target_modules", names, "Write a list", Applicability.SAFE)
        if is_list
        else None,
    )
