"""An option that needs a Python package which Kaito's image does not install."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option, is_on_kaito

CODE = "KT431"
NAME = "missing-package"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_INSTALLED_TRACKERS = ("none", "all")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option that makes the trainer import a package that is not among the requirements."""
    if not is_on_kaito(job):
        return
    tracker = job.option("TrainingArguments", "report_to")
    name = job.value("TrainingArguments", "report_to")
    if tracker is not None and isinstance(name, str) and name not in _INSTALLED_TRACKERS:
        yield _fault(job, tracker, f"`report_to: {name}`", name, "none")
    deepspeed = job.option("TrainingArguments", "deepspeed")
    if deepspeed is not None and job.value("TrainingArguments", "deepspeed"):
        yield _fault(job, deepspeed, "`deepspeed`", "deepspeed", None)
    liger = flag_option(job, "TrainingArguments", "use_liger_kernel")
    if liger is not None:
        yield _fault(job, liger, "`use_liger_kernel: true`", "liger-kernel", False)


def _fault(job: Job, option: Option, what: str, package: str, instead: object) -> Fault:
    return Fault(
        job.place_of(option),
        f"{what} needs the package {package}, which is not among the requirements of Kaito's image: "
        "the job stops when the trainer starts",
        help="leave it out",
        fix=None
        if instead is None
        else setting_fix(job, "TrainingArguments", option.name, instead, "Do without it", Applicability.UNSAFE),
    )
