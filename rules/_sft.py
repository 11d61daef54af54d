"""What rules about TRL's own arguments and its loss share."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import uses_sft_config

_HEAD = "lm_head"


def useless_option(job: Job, name: str, message: str, *, help: str) -> Iterator[Fault]:  # noqa: A002  (as in Fault)
    """Yield a fault where an argument of TRL is written that Kaito's image makes useless; its fix removes it."""
    option = job.option("TrainingArguments", name)
    if option is not None and uses_sft_config(job):
        yield Fault(job.place_of(option), message, help=help, fix=removal(job, option, Applicability.SAFE))


def _has_chunked_loss(job: Job) -> bool:
    """Return whether the loss is computed from the weight of `lm_head`, chunk by chunk, by default or as written."""
    loss = job.value("TrainingArguments", "loss_type")
    return loss == "chunked_nll" or (loss is None and job.release.has(LibraryChange.CHUNKED_LOSS))


def option_with_head(job: Job, name: str) -> tuple[Option, list[str]] | None:
    """Return a list of modules that names `lm_head`, and its other names; None where TRL's loss does not read it."""
    option = job.option("LoraConfig", name)
    if option is None or not uses_sft_config(job) or not _has_chunked_loss(job):
        return None
    value = job.value("LoraConfig", name)
    names = [str(module) for module in value] if isinstance(value, (list, tuple)) else []
    return (option, [module for module in names if module != _HEAD]) if _HEAD in names else None
