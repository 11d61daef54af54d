"""A switch that is set to false but turns on."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.config_edits import rename_option, replace_value
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.rules._serving import is_editable

CODE = "KT720"
NAME = "inverted-switch"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

_OFF = ("False", "false", "0", "0.0", "no", "off", "n", "N", "f", "F", "none", "disabled", "never")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield `x: false`, of which vLLM sees `--x`, and `no-x: false`, of which it sees `--no-x`."""
    for index in job.parsed.stray if job.uses_vllm and job.parsed.is_accepted else ():
        option, name = job.option_at(index), job.parsed.options.get(index, "")
        known = job.table.option(name)
        if known is None or known.takes_value or str(option.plain) not in _OFF:
            continue
        is_off = job.parsed.strings[index].startswith("--no-")
        state = "off" if is_off else "on"
        message = f"`{option.name}: {option.plain}` turns `{name}` {state}: Kaito writes `--{option.name}`"
        fix = _fix(job, option, name, known.kind, is_off)
        yield Fault(option.value, f"{message}, and the value is lost", help=_help(name, known.kind, is_off), fix=fix)


def _help(name: str, kind: str, is_off: bool) -> str:
    if is_off:
        return f"write `{name}: true`"
    return f"write `no-{name}: true`" if kind == "switch" else "remove it: nothing turns it off"


def _fix(job: ServingJob, option: Option, name: str, kind: str, is_off: bool) -> Fix | None:
    if not is_editable(job) or job.config is None or kind != "switch":
        return None
    wanted = name if is_off else f"no-{name}"
    edits = (rename_option(job.config, option, wanted), replace_value(job.config, option, True))
    return Fix(f"Write `{wanted}: true`", Applicability.SAFE, edits)
