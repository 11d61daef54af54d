"""A context length that Kaito's node estimate does not see."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import nodes_at, serving_memory
from kaitoc.compiler.kaito.controller_arguments import controller_does
from kaitoc.compiler.kaito.node_estimate import DEFAULT_LENGTH_TOKENS, scanned_length
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.compiler.memory.result import Verdict
from kaitoc.rules._fixes import renaming
from kaitoc.rules._serving import replacement

CODE = "KT730"
NAME = "unseen-context-length"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

_COMMENTED = r"(\s*)max-model-len:\s*[0-9]+\s+(#.*)"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a length that Kaito's scan of the lines does not find or reads otherwise than vLLM."""
    option = job.option_of("max-model-len") if job.uses_vllm and job.parsed.is_accepted else None
    if option is None or job.view is None or not controller_does(job.release, "scans_for_length"):
        return
    value = job.parsed.values["max-model-len"].value
    seen = scanned_length(job.config_text)
    if not isinstance(value, int) or value < 0 or value == seen or (seen is None and value <= DEFAULT_LENGTH_TOKENS):
        return
    source = option.key.source
    line = source.line_text(source.position(option.key.span.start).line).strip()
    message = f"Kaito's node estimate does not see `{line}` and assumes {DEFAULT_LENGTH_TOKENS:,} tokens"
    if seen is not None:
        message = f"Kaito's node estimate assumes {seen:,} tokens, the server takes {value:,}"
    applicability = _applicability(job, value)
    fix = None if option.name == "max-model-len" else renaming(job, option, "max-model-len", applicability)
    if fix is None and option.value.source.slice(option.value.span) != str(value):
        fix = replacement(job, option, value, applicability)
    if fix is None:
        fix = _without_comment(job, option, applicability)
    help_text = f"write `max-model-len: {value}` on a line of its own, without a comment"
    severity = SEVERITY
    if applicability is Applicability.UNSAFE and serving_memory(job).verdict is Verdict.FITS:
        # Seen, the length would only start other nodes: the server fits on those that it gets.
        severity, message = Severity.INFO, f"{message}; the server fits on the nodes that it gets"
    yield Fault(option.key, message, help=help_text, fix=fix, severity=severity)


def _applicability(job: ServingJob, length_tokens: int) -> Applicability:
    """Return "unsafe" where Kaito starts other nodes, or none, once it sees the length."""
    seen, now = nodes_at(job, length_tokens), job.kaito_nodes
    is_same = seen is None or now is None or seen.num_nodes == now.num_nodes
    return Applicability.SAFE if is_same else Applicability.UNSAFE


def _without_comment(job: ServingJob, option: Option, applicability: Applicability) -> Fix | None:
    """Offer to move the comment behind a length onto a line of its own, in a literal block or a file of its own."""
    config, source = job.config, option.key.source
    line = source.position(option.key.span.start).line
    match = re.fullmatch(_COMMENTED, source.line_text(line).rstrip())
    if config is None or not config.is_editable or match is None:
        return None
    if config.host.pointer and source.text[config.host.span.start] != "|":
        return None
    start, end = source.line_span(line).start, option.value.span.end
    indent, comment = match.groups()
    edits = (
        Edit(source, Span(start, start), f"{indent}{comment}{source.newline}"),
        Edit(source, Span(end, start + match.end()), ""),
    )
    return Fix("Move the comment to a line of its own", applicability, edits)
