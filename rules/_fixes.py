"""Fixes that several rules offer."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Applicability, Fix
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.config_edits import set_option


def setting_fix(
    job: Job, section: str, name: str, value: object, title: str, applicability: Applicability
) -> Fix | None:
    """Return the fix that sets one option, None when the user's file cannot be edited exactly."""
    config = job.config
    if config is None or not config.is_editable:
        return None
    return Fix(title, applicability, (set_option(config, section, name, value),))
