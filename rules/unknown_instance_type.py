"""An instance type that Kaito does not list."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import find_instance_type, suggest_gpus
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.rules._instances import is_removed

CODE = "KT320"
NAME = "unknown-instance-type"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    stated = job.instance_type
    if stated is None or stated.place is None or job.target is Target.BUNDLED:
        return
    instance = find_instance_type(stated.value)
    effect = "the node is provisioned, then the Job fails with `Unsupported SKU`"
    if instance is None:
        close = suggest_gpus(stated.value)
        yield Fault(
            stated.place,
            f"Kaito does not list the instance type `{stated.value}`; {effect}",
            help=f"did you mean `{close[0]}`?" if close else "",
        )
    elif is_removed(instance, job.release):
        yield Fault(
            stated.place,
            f"Kaito {job.release.name} no longer lists `{stated.value}` ({instance.gpu_model}); {effect}",
            help=f"the last release that does is {instance.last_release}",
        )
