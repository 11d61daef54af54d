"""Write down defaults that differ between Kaito releases and decide what is learned or how much memory it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.job.advice import bfloat16_gain, without_checkpointing
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.argument_table import Argument, release_arguments
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "explicit"

_SECTION = "TrainingArguments"
_MATTER = ("max_length", "gradient_checkpointing", "bf16", "learning_rate")
"""The options whose default moved between releases (TrainingArguments until v0.10, SFTConfig from v0.11 on) and that
change memory or the result."""
_NO_OPTION = object()
_ADVICE: Mapping[str, Callable[[Job], object | None]] = {
    "gradient_checkpointing": without_checkpointing,
    "bf16": bfloat16_gain,
}
"""What `check` advises against a default: then nothing is written that it would report the next moment."""


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the present value of every option that is left to a default that has moved."""
    if not job.is_parsable:
        return
    for name in _MATTER:
        defaults = _defaults(name)
        value = job.value(_SECTION, name)
        if job.option(_SECTION, name) is not None or value is None or len(set(defaults.values())) < 2:
            continue
        if name in _ADVICE and _ADVICE[name](job) is not None:
            continue
        reason = f"{_history(defaults)}; setting it keeps the behaviour across upgrades"
        yield set_to(job, _SECTION, name, value, reason, Preserves.EXACT)


def _defaults(name: str) -> dict[str, object]:
    """Map Kaito releases to an option's default, `_NO_OPTION` where a release does not have it."""
    defaults: dict[str, object] = {}
    for release in all_releases():
        argument: Argument | None = release_arguments(release.name).sections[_SECTION].arguments.get(name)
        defaults[release.name] = _NO_OPTION if argument is None else argument.default
    return defaults


def _history(defaults: dict[str, object]) -> str:
    """Format the defaults by the first release that has them: `the default is 5e-05 from v0.8, 2e-05 from v0.11`."""
    known = [(release, value) for release, value in defaults.items() if value is not _NO_OPTION]
    parts = [
        f"{_as_yaml(value)} from {release}"
        for index, (release, value) in enumerate(known)
        if index == 0 or value != known[index - 1][1]
    ]
    text = f"the default is {', '.join(parts)}"
    return text if len(known) == len(defaults) else f"not an option before {known[0][0]}; {text}"


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
