"""A switch that is set to false but turns on."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.config_edits import rename_option, replace_value
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.compiler.yaml.tree import Scalar
from kaitoc.rules._serving import is_editable

CODE = "KT720"
NAME = "inverted-switch"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

_ON = ("True", "true", "1", "on", "yes", "t", "T", "y", "Y")
_OFF = ("False", "false", "0", "0.0", "no", "off", "n", "N", "f", "F", "none", "disabled", "never")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield `x: false`, of which vLLM sees `--x`, and `no-x: false`, of which it sees `--no-x`.

    Whatever else stops the parser, the value of the first such pair is lost; KT702 has the others.
    """
    for index in job.parsed.stray[:1] if job.uses_vllm else ():
        option, name = job.option_at(index), job.parsed.options.get(index, "")
        known = job.table.option(name)
        if known is None or known.takes_value or str(option.plain) in _ON:
            continue
        is_off = job.parsed.strings[index].startswith("--no-")
        message = f"`{option.name}: {_written(option)}` turns `{name}` {'off' if is_off else 'on'}"
        reason = f"Kaito writes `--{option.name}`, and the value is lost"
        if str(option.plain) in _OFF:
            fix = _fix(job, option, name, known.kind, is_off)
            yield Fault(option.value, f"{message}: {reason}", help=_help(name, known.kind, is_off), fix=fix)
        elif option.plain is not None or (_is_written(option) and known.default is not (not is_off)):
            yield Fault(option.value, f"{message}: {reason}", help=f"write `{option.name}: true`, or remove the line")


def _written(option: Option) -> str:
    return option.node.value if isinstance(option.node, Scalar) else str(option.plain)


def _is_written(option: Option) -> bool:
    """Return whether a null is written out, such as `~`: a key alone is the short form of a switch."""
    return bool(_written(option))


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
