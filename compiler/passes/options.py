"""Changes to single options of a training config, as passes make them."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import batch_values
from kaitoc.compiler.manifest.config_edits import remove_option, set_option, set_options, yaml_text
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.compiler.passes.model import Change, Preserves


def set_to(job: Job, section: str, name: str, value: object, reason: str, preserves: Preserves) -> Change:
    """Return the change that gives an option a value, written or not."""
    option = job.option(section, name)
    config = job.config
    if config is None:
        raise ValueError("a job without a training config has no options to set")
    edits: tuple[Edit, ...]
    if option is not None and option.name != name:
        edits = (remove_option(config, option), set_option(config, section, name, value))
    else:
        edits = (set_option(config, section, name, value),)
    before = option_text(option) if option is not None else ""
    return Change(f"{section}.{name}", reason, preserves, _place(job, section, option), edits, before, yaml_text(value))


def set_several(
    job: Job,
    section: str,
    values: dict[str, object],
    reason: str,
    preserves: Preserves,
    more_edits: tuple[Edit, ...] = (),
) -> Change:
    """Return the change that gives several options of a section their values at once, with further edits if need be."""
    config = job.config
    if config is None:
        raise ValueError("a job without a training config has no options to set")
    before = ", ".join(_written(job, section, name) for name in values if job.option(section, name) is not None)
    after = ", ".join(f"{name}: {yaml_text(value)}" for name, value in values.items())
    place = _place(job, section, job.option(section, next(iter(values))))
    edits = (*set_options(config, section, values), *more_edits)
    return Change(section, reason, preserves, place, edits, before, after)


def _written(job: Job, section: str, name: str) -> str:
    option = job.option(section, name)
    return f"{name}: {option_text(option)}" if option is not None else ""


def remove(job: Job, option: Option, reason: str, preserves: Preserves) -> Change:
    """Build the change that removes an option and its line."""
    config = job.config
    if config is None:
        raise ValueError("a job without a training config has no options to remove")
    place = _place(job, option.section, option)
    edits = (remove_option(config, option),)
    return Change(f"{option.section}.{option.name}", reason, preserves, place, edits, option_text(option))


def option_text(option: Option) -> str:
    """Return an option's value as it is written, on one line."""
    plain = option.plain
    if isinstance(plain, (list, tuple)) or plain is None or isinstance(plain, (str, int, float, bool)):
        return yaml_text(plain)
    return option.value.source.slice(option.value.span)


def _place(job: Job, section: str, option: Option | None) -> Place:
    return job.place_of(option) if option is not None else job.section_place(section)


def set_batch(job: Job, batch: int, effective: int, reason: str, preserves: Preserves) -> Change:
    """Return the change of the batch and, in the same step, of the accumulation that keeps the effective batch.

    `effective` is the number of sequences per GPU and optimizer step; `batch` divides it.
    """
    config = job.config
    if config is None:
        raise ValueError("a job without a training config has no batch to set")
    section, size, steps = "TrainingArguments", "per_device_train_batch_size", "gradient_accumulation_steps"
    edits = set_options(config, section, batch_values(job, batch, effective))
    before = f"{job.integer(section, size, 8)} x {job.integer(section, steps, 1)}"
    after = f"{batch} x {effective // batch}"
    place = _place(job, section, job.option(section, size))
    return Change(f"{section}.{size} x {steps}", reason, preserves, place, edits, before, after)
