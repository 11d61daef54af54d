"""A text that YAML reads as something else."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.yaml.tree import Scalar
from kaitoc.rules._serving import replacement

CODE = "KT725"
NAME = "altered-serving-value"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield plain scalars that arrive otherwise than they are written: `no` as `False`, `012` as `10`."""
    for name, served in job.parsed.values.items() if job.uses_vllm else ():
        known = job.table.option(name)
        if served.index < 0 or known is None or not known.takes_value:
            continue
        option = job.option_at(served.index)
        node = option.node
        if not isinstance(node, Scalar) or node.style is not None or "." in option.name or served.word == node.value:
            continue
        if option.plain is None:
            if node.value and known.kind == "str" and not known.is_optional:
                message = f"`{option.name}: {node.value}` reaches vLLM as the text `{served.word}`"
                yield Fault(option.value, message, help="remove the line to leave the default")
            continue
        if known.kind != "str" and _is_same_number(node.value, served.word):
            continue
        message = f"`{option.name}: {node.value}` reaches vLLM as `{served.word}`: that is how YAML 1.1 reads it"
        fix = replacement(job, option, node.value, Applicability.UNSAFE) if known.kind == "str" else None
        yield Fault(option.value, message, help="put it in quotes", fix=fix)


def _is_same_number(written: str, word: str) -> bool:
    """Return whether both are the same number; a leading zero makes it octal, which nobody means."""
    text = written.replace("_", "")
    if text.lstrip("+-")[:1] == "0" and len(text) > 1 and text.lstrip("+-")[1:2].isdigit():
        return False
    try:
        return float(text) == float(word)
    except ValueError:
        return text.lower().startswith("0x")
