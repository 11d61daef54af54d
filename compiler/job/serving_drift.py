"""Values that a server's config leaves out and that another release's controller or vLLM gives otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix
from kaitoc.compiler.job.default_drift import ChangedDefault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_options import ServingOption
from kaitoc.compiler.manifest.config_edits import set_option
from kaitoc.compiler.manifest.serving_config import SERVING_SECTION


def starts(server: ServingJob) -> bool:
    """Return whether vLLM takes a server's arguments; raises `UnknownValueError`."""
    return server.uses_vllm and server.parsed.is_accepted and not server.engine_problems


def changed_serving_defaults(before: ServingJob, after: ServingJob) -> Iterator[ChangedDefault]:
    """Yield the options that both releases have, that a config leaves out, and that come to another value.

    Raises `UnknownValueError` where a placeholder decides it.
    """
    for name in before.table.names:
        option = after.table.option(name)
        if option is None or before.option_of(name) is not None:
            continue
        old, new = _value(before, name), _value(after, name)
        if old != new:
            can_be_kept = _can_be_written(option, old) and after.config is not None and after.config.is_editable
            yield ChangedDefault(SERVING_SECTION, name, old, new, (), after.config_place, old, can_be_kept)


def keeping_serving_fix(server: ServingJob, change: ChangedDefault) -> Fix | None:
    """Return the fix that writes the older value into a server's config, None where it is there or cannot be."""
    if server.config is None or not change.can_be_kept or server.option_of(change.option) is not None:
        return None
    edit = set_option(server.config, SERVING_SECTION, change.option, change.written)
    return Fix(f"Write `{change.line}`, as before", Applicability.SAFE, (edit,))


def _value(server: ServingJob, name: str) -> object:
    served = server.parsed.values.get(name)
    option = server.table.option(name)
    return served.value if served is not None else option.default if option is not None else None


def _can_be_written(option: ServingOption, value: object) -> bool:
    """Return whether a pair of the config gives an option a value: a switch takes none, and null is a text there."""
    is_plain = isinstance(value, (int, float, str)) and not isinstance(value, bool) and value != ""
    return is_plain and option.takes_value and (not option.choices or str(value) in option.choices)
