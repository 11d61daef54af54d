"""Options that nobody wrote and that another release gives another value (`schemas/catalog/default_drift.json`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.findings import Applicability, Fix
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import DEFAULT_CAP_TOKENS, quantization_of, stack_of, weight_dtype_of
from kaitoc.compiler.manifest.config_edits import set_option, yaml_text
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.memory.stacks import KAITO_PREFIX, find_stack
from kaitoc.compiler.memory.workload import Loss, Quantization
from kaitoc.schemas import read_json

_LOSS_TYPES = {Loss.FULL: "nll", Loss.CHUNKED: "chunked_nll"}


@dataclass(frozen=True, slots=True)
class DriftingDefault:
    """What the catalog says of an option: its effects, and when it counts; `written` spells values by their JSON."""

    effects: tuple[str, ...]
    only_with: tuple[str, frozenset[str]] | None
    written: Mapping[str, object]

    def spelled(self, value: object) -> object:
        """Return a value as a manifest writes it."""
        return self.written.get("null" if value is None else str(value), value)


@dataclass(frozen=True, slots=True)
class ChangedDefault:
    """An option that a job leaves out and that has another value in the newer release.

    `written` is how the older value is written, `place` where; `can_be_kept` is false where there is no such file.
    """

    section: str
    option: str
    before: object
    after: object
    effects: tuple[str, ...]
    place: Place
    written: object
    can_be_kept: bool

    @property
    def line(self) -> str:
        """Return the line that keeps the older value."""
        return f"{self.option}: {yaml_text(self.written)}"


@lru_cache(maxsize=1)
def drifting_defaults() -> Mapping[tuple[str, str], DriftingDefault]:
    """Return the options whose defaults differ between releases and do something, by section and name."""
    return {
        (section, option): _drifting(entry)
        for section, options in read_json("catalog/default_drift")["effects"].items()
        for option, entry in options.items()
    }


def _drifting(entry: dict[str, Any]) -> DriftingDefault:
    only = entry.get("only_with")
    return DriftingDefault(
        tuple(entry["effects"]),
        (only["option"], frozenset(only["values"])) if only is not None else None,
        entry.get("written", {}),
    )


def changed_defaults(before: Job, after: Job) -> Iterator[ChangedDefault]:
    """Yield the options that a job leaves out and that its other reading, by the newer release, gives another value.

    Raises `UnknownValueError` where a placeholder decides it.
    """
    for (section, option), drifting in drifting_defaults().items():
        if _is_written(before, section, option) or not _counts(after, section, drifting):
            continue
        old, new = (_default(job, section, option) for job in (before, after))
        if old != new:
            written = drifting.spelled(old)
            can_be_kept = written is not None and _is_editable(after)
            place = after.section_place(section)
            yield ChangedDefault(section, option, old, new, drifting.effects, place, written, can_be_kept)


def keeping_fix(job: Job, change: ChangedDefault) -> Fix | None:
    """Return the fix that writes the older value into a job's file, None where it stands there or cannot be written."""
    config = job.config
    if config is None or not change.can_be_kept or _is_written(job, change.section, change.option):
        return None
    edit = set_option(config, change.section, change.option, change.written)
    return Fix(f"Write `{change.line}`, as before", Applicability.SAFE, (edit,))


def library_defaults(release: Release) -> Mapping[tuple[str, str], object]:
    """Look up what a release's libraries choose where its argument tables say nothing, by section and option.

    TRL 0.11 cuts sequences at the smaller of the tokenizer's maximum and 1,024; `max_length` came with `SFTConfig`.
    """
    loss = find_stack(f"{KAITO_PREFIX}{release.name}").default_loss
    cap = DEFAULT_CAP_TOKENS if release.has_sft_config else f"min(tokenizer's maximum, {DEFAULT_CAP_TOKENS})"
    return {
        ("ModelConfig", "torch_dtype"): "auto" if release.has(LibraryChange.CHECKPOINT_DTYPE) else "float32",
        ("TrainingArguments", "loss_type"): _LOSS_TYPES.get(loss),
        ("TrainingArguments", "max_length"): cap,
    }


def _is_written(job: Job, section: str, option: str) -> bool:
    return job.option(section, option) is not None


def _counts(job: Job, section: str, drifting: DriftingDefault) -> bool:
    """Return whether the job looks at an option at all."""
    if drifting.only_with is None:
        return True
    option, values = drifting.only_with
    stated = job.value(section, option)
    return not values.isdisjoint(map(str, stated if isinstance(stated, (list, tuple)) else (stated,)))


def _default(job: Job, section: str, option: str) -> object:
    """Return the value that an option left out comes to in a job, be it by the table or by the libraries."""
    if (section, option) == ("ModelConfig", "torch_dtype"):
        return weight_dtype_of(job).value
    if option == "loss_type":
        return _LOSS_TYPES.get(stack_of(job).default_loss)
    if option == "gradient_checkpointing" and quantization_of(job) is not Quantization.NONE:
        return True  # `prepare_model_for_kbit_training` turns it on, whatever is written
    if option == "bf16" and job.flag(section, "fp16"):
        return False
    return job.value(section, option)


def _is_editable(job: Job) -> bool:
    return job.config is not None and job.config.is_editable and not job.uses_template
