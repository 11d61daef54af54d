"""Which data file Kaito's runtime takes, and for what: what rules about data share.

Source of all of it: Kaito `presets/workspace/tuning/text-generation/dataset.py`.
"""

from __future__ import annotations

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Field, Place

FILE_TYPES = ("arrow", "csv", "json", "parquet", "webdataset")
"""`SUPPORTED_EXTENSIONS`, which are looked for anywhere in a file's name; `.jsonl` counts as json."""


def input_urls(job: Job) -> list[Field]:
    """Return the URLs of a Workspace's input."""
    workspace = job.workspace
    return job.memo.get("input URLs", lambda: workspace.fields("tuning", "input", "urls") if workspace else [])


def url_file_name(url: str) -> str:
    """Return the name under which Kaito's downloader saves a URL.

    It cuts the query after it took what follows the last slash (`data-downloader.sh`), so a slash in the query counts.
    """
    last = url.rstrip("/").rpartition("/")[2]
    return last.partition("?")[0].partition("#")[0]


def types_in(name: str) -> tuple[str, ...]:
    """Return the file types whose names are part of a file's name."""
    lowered = name.lower()
    return tuple(kind for kind in FILE_TYPES if kind in lowered)


def dataset_path(job: Job) -> str:
    """Return the path of the data that a config states, empty when it states none."""
    value = job.value("DatasetConfig", "dataset_path")
    return value if isinstance(value, str) else ""


def file_names(job: Job) -> list[tuple[Place, str]]:
    """Return the names of the data files that the manifests tell of, with the places that do."""
    return job.memo.get("file names", lambda: _file_names(job))


def _file_names(job: Job) -> list[tuple[Place, str]]:
    option = job.option("DatasetConfig", "dataset_path")
    if option is not None and dataset_path(job):
        return [(job.place_of(option), dataset_path(job).rstrip("/").rpartition("/")[2])]
    return [(url.value, url_file_name(url.text)) for url in input_urls(job) if url.text]
