"""A `dataset_extension` for which there is no loader."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._dataset import FILE_TYPES, file_names, types_in
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito

CODE = "KT445"
NAME = "unknown-dataset-extension"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_WITHOUT_COLUMNS = ("text", "xml", "pandas", "imagefolder", "audiofolder", "videofolder")
"""Loaders of the datasets library whose rows have none of the columns that Kaito trains on."""
_MEANT = {"jsonl": "json", "ndjson": "json", "pq": "parquet"}


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the stated type is no loader of the datasets library."""
    option, value = job.option("DatasetConfig", "dataset_extension"), job.value("DatasetConfig", "dataset_extension")
    if option is None or not is_on_kaito(job) or not isinstance(value, str) or not value:
        return
    if value in FILE_TYPES:
        yield from _other_type(job, option, value)
        return
    lowered = value.strip().lower().lstrip(".")
    meant = _MEANT.get(lowered, lowered)
    is_clear = meant in FILE_TYPES
    title = f"Write `{meant}`"
    yield Fault(
        job.place_of(option),
        f"`dataset_extension: {value}` {_effect(value)}: {AFTER_LOADING}",
        help=f"write `{meant}`" if is_clear else f"it is one of {join_names(FILE_TYPES)}",
        fix=setting_fix(job, "DatasetConfig", "dataset_extension", meant, title, Applicability.SAFE)
        if is_clear
        else None,
    )


def _effect(value: str) -> str:
    if value in _WITHOUT_COLUMNS:
        return "loads rows without `messages` or `prompt` and `completion`"
    return "is not a type that the datasets library can load"


def _other_type(job: Job, option: Option, value: str) -> Iterator[Fault]:
    """Yield a fault when the data's own name says another type."""
    for _, name in file_names(job):
        own = types_in(name)
        if len(own) == 1 and own[0] != value:
            yield Fault(
                job.place_of(option),
                f"`dataset_extension: {value}` is not the type of `{name}`: {AFTER_LOADING}",
                help=f"write `{own[0]}`, or leave it out",
            )
            return
