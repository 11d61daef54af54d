"""A section of the training config that Kaito does not know."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import SECTIONS, Section, TrainingConfig

CODE = "KT201"
NAME = "unknown-section"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    config = job.config
    if config is None or job.uses_template:
        return
    for section in config.sections:
        if section.name not in SECTIONS:
            yield _fault(config, section)


def _fault(config: TrainingConfig, section: Section) -> Fault:
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in SECTIONS}
    close = get_close_matches(section.name.lower().replace("_", ""), by_lower, n=1, cutoff=0.6)
    suggestion = by_lower[close[0]] if close else ""
    fix = None
    if suggestion and config.section(suggestion) is None and config.is_editable:
        edit = Edit(section.key.source, section.key.span, suggestion)
        fix = Fix(f"Rename it to `{suggestion}`", Applicability.SAFE, (edit,))
    return Fault(
        section.key,
        f"`{section.name}` is not a section of the training config; Kaito's webhook refuses the Workspace",
        help=f"did you mean `{suggestion}`?" if suggestion else f"the sections are {', '.join(SECTIONS)}",
        fix=fix,
    )
