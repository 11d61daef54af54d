"""A `dataset_path` at which no data is mounted."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import stage_effect
from kaitoc.rules._dataset import dataset_path, input_urls, url_file_name
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT475"
NAME = "misplaced-dataset-path"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the path is not that of a file in the input's mount."""
    option, path = job.option("DatasetConfig", "dataset_path"), dataset_path(job)
    if option is None or not is_on_kaito(job) or not path or path.strip("/").startswith("mnt/"):
        return
    problem = _problem(job, path)
    if problem:
        yield Fault(
            job.place_of(option),
            f"`dataset_path: {path}` {problem}; {stage_effect('data')}",
            help="write data/ and the name of the file, or leave it out: Kaito finds the file in /mnt/data",
        )


def _problem(job: Job, path: str) -> str:
    if "://" in path:
        return "is treated as a path below /mnt, not as a URL"
    full = normpath("/mnt/" + path.strip("/"))
    if full != "/mnt/data" and not full.startswith("/mnt/data/"):
        return f"is {full}, and Kaito mounts the input at /mnt/data"
    names = [url_file_name(url.text) for url in input_urls(job) if url.text]
    name = full.rpartition("/")[2]
    if names and "*" not in full and full != "/mnt/data" and name not in names:
        return f"is not one of the files that the input downloads ({', '.join(names)})"
    return ""
