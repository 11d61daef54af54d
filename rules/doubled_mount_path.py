"""A `dataset_path` that begins with /mnt, which Kaito prepends again."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._dataset import dataset_path
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito

CODE = "KT442"
NAME = "doubled-mount-path"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_PREFIX = "mnt/"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the path of the data has /mnt in it already."""
    option = job.option("DatasetConfig", "dataset_path")
    path = dataset_path(job).strip("/")
    if option is None or not is_on_kaito(job) or not path.startswith(_PREFIX):
        return
    meant = "/" + path.removeprefix(_PREFIX)
    yield Fault(
        job.place_of(option),
        f"`dataset_path` is relative to /mnt, so this is /mnt/{path}, which does not exist: {AFTER_LOADING}",
        help=f"write `dataset_path: {meant}`",
        fix=setting_fix(job, "DatasetConfig", "dataset_path", meant, f"Write `{meant}`", Applicability.SAFE),
    )
