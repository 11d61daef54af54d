"""Data whose file name shows no type that the runtime knows."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Place
from kaitoc.rules._dataset import FILE_TYPES, dataset_path, file_names, types_in
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito

CODE = "KT444"
NAME = "unrecognized-file-type"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each data file when the runtime would recognise none of them."""
    if not is_on_kaito(job) or not job.parsed:
        return
    has_extension = job.option("DatasetConfig", "dataset_extension") is not None
    is_path = bool(dataset_path(job))
    names = file_names(job)
    if (is_path and has_extension) or any(types_in(name) for _, name in names):
        return
    for place, name in names:
        effect = "is not a type that can be loaded" if is_path else 'is skipped: "Unable to find a valid dataset file"'
        yield Fault(
            place,
            f"`{name}` has none of {join_names(FILE_TYPES)} in its name and {effect}; {AFTER_LOADING}",
            help=_help(place, is_path=is_path),
        )


def _help(place: Place, *, is_path: bool) -> str:
    """Suggest a file name that is recognized; the downloader splits at slashes even in a query."""
    query = place.source.slice(place.span).partition("?")[2]
    if "/" in query and not is_path:
        return "write %2F for each slash after the `?`: Kaito names the file by what follows the last slash"
    return "rename it with the right extension" + (", or set `dataset_extension`" if is_path else "")
