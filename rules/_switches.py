"""How several options without a value are written, so that no word is left over."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Applicability, Edit, Fix
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_options import SWITCH
from kaitoc.compiler.manifest.config_edits import remove_option, rename_option, replace_value
from kaitoc.compiler.manifest.serving_config import Option

_ON, _OFF = ("True", "true", "1", "on", "yes", "None"), ("False", "false", "0", "off", "no")


def as_one_chain(job: ServingJob) -> Fix | None:
    """Return the fix that makes each second option the value of the one before, None where a meaning is open."""
    config = job.config
    if config is None or not config.is_editable:
        return None
    named = [(job.option_at(index), _meant(job, index)) for index in job.parsed.stray]
    if any(not name for _, name in named) or len({option.name for option, _ in named}) != len(named):
        return None
    edits: list[Edit] = []
    for (option, name), (second, second_name) in zip(named[::2], named[1::2], strict=False):
        edits += [*_renamed(job, option, name), replace_value(config, option, f"--{second_name}")]
        edits.append(remove_option(config, second))
    if len(named) % 2:
        option, name = named[-1]
        edits += [*_renamed(job, option, name), replace_value(config, option, True)]
    return Fix("Give each option the value that its switch means", Applicability.SAFE, tuple(edits))


def _renamed(job: ServingJob, option: Option, name: str) -> list[Edit]:
    return [rename_option(job.config, option, name)] if job.config is not None and option.name != name else []


def _meant(job: ServingJob, index: int) -> str:
    """Return the option string that says what a pair means, without dashes; empty where that is open."""
    name, word = job.parsed.options.get(index, ""), str(job.option_at(index).plain)
    known = job.table.option(name)
    if known is None or known.takes_value or word not in (*_ON, *_OFF):
        return ""
    is_on = (word in _ON) is not job.parsed.strings[index].startswith("--no-")
    return name if is_on else f"no-{name}" if known.kind == SWITCH else ""
