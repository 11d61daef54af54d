"""A file name that looks like several types of data."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Place
from kaitoc.rules._dataset import file_names, types_in
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT443"
NAME = "ambiguous-file-type"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each file whose type is guessed from a name with several types in it."""
    if not is_on_kaito(job) or not job.parsed or job.option("DatasetConfig", "dataset_extension") is not None:
        return
    for place, name in file_names(job):
        types = types_in(name)
        if len(types) > 1:
            yield _fault(job, place, name, types)


def _fault(job: Job, place: Place, name: str, types: tuple[str, ...]) -> Fault:
    ending = types_in(name.rpartition(".")[2])
    meant = ending[0] if len(ending) == 1 else ""
    title = f"State the type {meant}"
    return Fault(
        place,
        f"the type of `{name}` is guessed from type names anywhere in it; {join_names(types)} match, and which of "
        "them wins changes from run to run",
        help=f"write `dataset_extension: {meant or types[0]}` under DatasetConfig, or rename the file",
        fix=setting_fix(job, "DatasetConfig", "dataset_extension", meant, title, Applicability.SAFE) if meant else None,
    )
