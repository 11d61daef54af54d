"""What rules about values that parse but do not work ask of a job."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.manifest.training_config import Option

AFTER_LOADING = "the job stops after the node was provisioned and the model was loaded"


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number that a config states, and the option that does."""

    option: Option
    value: float

    @property
    def text(self) -> str:
        """Return the number as messages show it; integers may be too large for a float."""
        return str(self.value) if isinstance(self.value, int) else f"{self.value:g}"


def is_on_kaito(job: Job) -> bool:
    """Return whether the job is meant for Kaito's own tuning image."""
    return job.target is Target.KAITO


def uses_sft_config(job: Job) -> bool:
    """Return whether the job runs on an image of Kaito that parses TrainingArguments into trl's SFTConfig."""
    return is_on_kaito(job) and job.release.has_sft_config


def written_number(job: Job, section: str, name: str) -> WrittenNumber | None:
    """Return the number that an option states, None when it is left out or was refused by the parser."""
    option, value = job.option(section, name), job.value(section, name)
    if option is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return WrittenNumber(option, value)


def flag_option(job: Job, section: str, name: str) -> Option | None:
    """Return the option that turns a flag on, None when it is off or on only by default."""
    return job.option(section, name) if job.flag(section, name) else None
