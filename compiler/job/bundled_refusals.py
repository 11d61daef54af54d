"""What the bundled runtime refuses of a config however it is run: rules report it, and no plan is made of it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.sharing import FULL_SHARD, request_in
from kaitoc.schemas import read_json

MOUNT_ROOT = "/mnt"
"""The folder below which Kaito's image mounts data and results."""
DATA_FORMATS = {
    "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet", "arrow": "arrow", "txt": "text", "text": "text"
}  # fmt: skip
"""What the runtime reads, by the `dataset_extension` that names it."""
DTYPE_ALIASES = {"float": "float32", "half": "float16", None: "auto"}

_UNKNOWN_DTYPES = ("double", "float64")
"""Types that Kaito's parser takes and the runtime does not load weights in; other words are refused anywhere."""
_NUMBERS = {
    ("TrainingArguments", "save_total_limit"): "TrainingPlan",
    ("TrainingArguments", "dataloader_num_workers"): "TrainingPlan",
    ("TrainingArguments", "logging_steps"): "TrainingPlan",
    ("TrainingArguments", "max_grad_norm"): "TrainingPlan",
    ("TrainingArguments", "warmup_steps"): "TrainingPlan",
    ("DataCollator", "pad_to_multiple_of"): "DataPlan",
}
"""Options with a bound in plans that Kaito's parser does not have, and the part of a plan that holds them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option that stops `kaitoc run` before it starts, and what to do."""

    section: str
    option: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        """Format it as one line for the user."""
        return f"{self.what}: {self.advice}" if self.advice else self.what


def refusals(job: Job) -> Iterator[Refusal]:
    """Yield the options of a parsable job that the runtime refuses."""
    yield from _of_model(job)
    yield from _of_data(job)
    yield from _of_numbers(job)


def leaves_mount(written: str) -> bool:
    """Return whether an `output_dir` leads out of /mnt, or out of the working folder if it is relative."""
    place = posixpath.normpath(written)
    return not place.startswith(f"{MOUNT_ROOT}/") if place.startswith("/") else place.split("/")[0] == ".."


def _of_model(job: Job) -> Iterator[Refusal]:
    fsdp, dtype = job.value("TrainingArguments", "fsdp"), job.value("ModelConfig", "torch_dtype")
    if request_in(fsdp) is None:
        advice = f"write `fsdp: {FULL_SHARD}`"
        if "hybrid_shard" in str(fsdp):
            advice += "; `kaitoc run --shard-group N` then shards the model within groups of N processes"
        yield Refusal("TrainingArguments", "fsdp", f"`kaitoc run` does not support `fsdp: {fsdp}`", advice)
    if job.flag("TrainingArguments", "use_cpu"):
        what = "`kaitoc run` takes its device from the command line, not from `use_cpu: true`"
        yield Refusal("TrainingArguments", "use_cpu", what, "remove it and write `--device cpu`")
    if dtype in _UNKNOWN_DTYPES:
        what = f"`kaitoc run` loads no weights as `torch_dtype: {dtype}`"
        yield Refusal("ModelConfig", "torch_dtype", what, "write `torch_dtype: bfloat16`, or float32")
    targets = job.value("LoraConfig", "target_modules")
    if job.value("LoraConfig", "layers_to_transform") and targets in (None, [], ["all-linear"], "all-linear"):
        what = "`layers_to_transform` needs `target_modules`"
        yield Refusal("LoraConfig", "layers_to_transform", what, "name the modules to adapt in those layers")
    if job.value("LoraConfig", "layers_pattern") and not job.value("LoraConfig", "layers_to_transform"):
        what = "`layers_pattern` needs `layers_to_transform`"
        yield Refusal("LoraConfig", "layers_pattern", what, "write the numbers of the layers to adapt there")


def _of_data(job: Job) -> Iterator[Refusal]:
    path, extension = (job.value("DatasetConfig", name) for name in ("dataset_path", "dataset_extension"))
    if isinstance(path, str) and path:
        inside = posixpath.normpath(posixpath.join(MOUNT_ROOT, path.lstrip("/")))
        if inside != MOUNT_ROOT and not inside.startswith(f"{MOUNT_ROOT}/"):
            what = f"`dataset_path: {path}` leaves {MOUNT_ROOT}"
            yield Refusal("DatasetConfig", "dataset_path", what, "name a file below it, such as data/train.jsonl")
    if isinstance(extension, str) and extension and extension.lower().lstrip(".") not in DATA_FORMATS:
        what = f"`dataset_extension: {extension}` is not one of {', '.join(sorted(DATA_FORMATS))}"
        yield Refusal("DatasetConfig", "dataset_extension", what)


def _of_numbers(job: Job) -> Iterator[Refusal]:
    for (section, name), part in _NUMBERS.items():
        value = job.value(section, name) if job.option(section, name) is not None else None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        least, above = _bounds()[part, name]
        if (least is not None and value < least) or (above is not None and value <= above):
            bound = f"at least {least}" if least is not None else f"above {above}"
            yield Refusal(section, name, f"`{name}: {value}` must be {bound} for `kaitoc run`")


@lru_cache(maxsize=1)
def _bounds() -> dict[tuple[str, str], tuple[Any, Any]]:
    """Return the smallest value of each number, and the one that it must be above, by the schema of plans."""
    parts = read_json("plan")["$defs"]
    found = {}
    for (_, name), part in _NUMBERS.items():
        entry = parts[part]["properties"][name]
        schema = next(iter(entry.get("anyOf", (entry,))))
        found[part, name] = (schema.get("minimum"), schema.get("exclusiveMinimum"))
    return found
