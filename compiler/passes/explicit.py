"""Write down defaults that differ between Kaito releases and decide what is learned or how much memory it takes."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.job.advice import without_checkpointing
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.table import Argument, release_arguments
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "explicit"

_SECTION = "TrainingArguments"
_CHECKPOINTING = "gradient_checkpointing"
_MATTER = ("max_length", _CHECKPOINTING, "bf16", "learning_rate")
"""The options whose default moved between releases (TrainingArguments until v0.10, SFTConfig from v0.11 on) and that
change memory or the result."""


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the present value of every option that is left to a default that has moved."""
    if not job.is_parsable:
        return
    for name in _MATTER:
        defaults = _defaults(name)
        value = job.value(_SECTION, name)
        if job.option(_SECTION, name) is not None or value is None or len(set(defaults.values())) < 2:
            continue
        if name == _CHECKPOINTING and without_checkpointing(job) is not None:
            continue  # nothing is written that `check` would advise to change
        reason = f"the default is {_history(defaults)}; setting it keeps the behaviour across upgrades"
        yield set_to(job, _SECTION, name, value, reason, Preserves.EXACT)


def _defaults(name: str) -> dict[str, object]:
    """Return an option's default per Kaito release, "not an option" where there is none."""
    defaults: dict[str, object] = {}
    for release in all_releases():
        argument: Argument | None = release_arguments(release.name).sections[_SECTION].arguments.get(name)
        defaults[release.name] = "not an option" if argument is None else argument.default
    return defaults


def _history(defaults: dict[str, object]) -> str:
    """Format the defaults by the first release that has them: `5e-05 from v0.8, 2e-05 from v0.11`."""
    parts: list[str] = []
    previous: object = object()
    for release, value in defaults.items():
        if value != previous:
            parts.append(f"{_as_yaml(value)} from {release}")
        previous = value
    return ", ".join(parts)


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
