"""Fixes that several rules offer: edits of the YAML inside a ConfigMap, of a fine-tune's or of a server's."""

from __future__ import annotations

from kaitoc.compiler.core.annotations import Protocol
from kaitoc.compiler.core.findings import Applicability, Edit, Fix
from kaitoc.compiler.manifest.config_edits import remove_option, rename_option, set_option
from kaitoc.compiler.manifest.inner_config import InnerConfig, Option
from kaitoc.compiler.manifest.objects import Place


class Configured(Protocol):
    """A job or a server: its config is None where there is none, or it is not known."""

    @property
    def config(self) -> InnerConfig | None:
        """Return the YAML inside its ConfigMap."""
        ...


def setting_fix(
    job: Configured, section: str, name: str, value: object, title: str, applicability: Applicability
) -> Fix | None:
    """Return the fix that sets one option, None when the user's file cannot be edited exactly."""
    config = job.config
    if config is None or not config.is_editable:
        return None
    return Fix(title, applicability, (set_option(config, section, name, value),))


def respelling(place: Place, text: str) -> Fix:
    """Return the fix that spells a value of an object as it is known."""
    return Fix(f"Write `{text}`", Applicability.SAFE, (Edit(place.source, place.span, text),))


def renaming(job: Configured, option: Option, name: str, applicability: Applicability) -> Fix | None:
    """Return the fix that renames an option, None when that is impossible or would repeat a key."""
    config = job.config
    if not name or config is None or not config.is_editable or config.option(option.section, name) is not None:
        return None
    return Fix(f"Rename it to `{name}`", applicability, (rename_option(config, option, name),))


def removal(job: Configured, option: Option, applicability: Applicability) -> Fix | None:
    """Return the fix that removes an option, None when the file cannot be edited exactly or nothing would be left."""
    config = job.config
    section = config.section(option.section) if config is not None else None
    if config is None or not config.is_editable or section is None or len(section.options) < 2:
        return None
    return Fix(f"Remove `{option.name}`", applicability, (remove_option(config, option),))
