"""A model whose repository may run code of its own."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option

CODE = "KT458"
NAME = "trusted-remote-code"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    option = flag_option(job, "ModelConfig", "trust_remote_code")
    if option is None:
        return
    is_bundled = job.target is Target.BUNDLED
    yield Fault(
        job.place_of(option),
        "the bundled runtime does not run code from a model's repository and refuses the job"
        if is_bundled
        else "`trust_remote_code: true` runs whatever Python is next to the model's weights, with the pod's secrets",
        help="leave it out: transformers supports every preset without it",
        fix=setting_fix(job, "ModelConfig", "trust_remote_code", False, "Do not run remote code", Applicability.UNSAFE),
        severity=Severity.ERROR if is_bundled else None,
    )
