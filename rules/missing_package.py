"""An option that needs a Python package which Kaito's image does not install."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._conditions import ARGUMENTS, stage_effect, written
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option, is_on_kaito
from kaitoc.rules._libraries import libraries_of

CODE = "KT431"
NAME = "missing-package"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_NO_TRACKER = ("none", "all")
_USUAL_OPTIMIZER = "adamw_torch_fused"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option that makes the trainer import a package that is not among the requirements."""
    if not is_on_kaito(job):
        return
    yield from _tracker(job)
    yield from _optimizer(job)
    deepspeed = job.option(ARGUMENTS, "deepspeed")
    if deepspeed is not None and deepspeed.plain is not None and job.value(ARGUMENTS, "deepspeed"):
        yield _fault(job, deepspeed, "needs the package deepspeed", "parse", None)
    liger = flag_option(job, ARGUMENTS, "use_liger_kernel")
    if liger is not None:
        yield _fault(job, liger, "needs the package liger-kernel", "trainer", False)


def _tracker(job: Job) -> Iterator[Fault]:
    option, name = job.option(ARGUMENTS, "report_to"), job.value(ARGUMENTS, "report_to")
    if option is None or option.plain is None or not isinstance(name, str) or name in _NO_TRACKER:
        return
    known = libraries_of(job).reporters
    if name not in known:
        yield Fault(
            job.place_of(option),
            f"{written(option)} is not a tracker that transformers knows; {stage_effect('trainer')}",
            help='write "none", or leave it out',
            fix=setting_fix(job, ARGUMENTS, "report_to", "none", "Remove the dependency", Applicability.UNSAFE),
        )
    elif known[name]:
        yield _fault(job, option, f"needs the package of {name}", "trainer", "none")


def _optimizer(job: Job) -> Iterator[Fault]:
    option, name = job.option(ARGUMENTS, "optim"), optimizer_name(job)
    optimizer = libraries_of(job).optimizers.get(name) if option is not None and isinstance(name, str) else None
    if option is not None and optimizer is not None and optimizer.refusal:
        reason = optimizer.refusal.partition(": ")[2].partition(". ")[0]
        yield _fault(job, option, f'needs a package ("{reason}")', "optimizer", _USUAL_OPTIMIZER)


def _fault(job: Job, option: Option, needs: str, stage: str, instead: object) -> Fault:
    return Fault(
        job.place_of(option),
        f"{written(option)} {needs}, which Kaito's image does not have; {stage_effect(stage)}",
        help="leave it out",
        fix=None
        if instead is None
        else setting_fix(job, ARGUMENTS, option.name, instead, "Remove the dependency", Applicability.UNSAFE),
    )
