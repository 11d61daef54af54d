"""How compile reports word sizes, speeds and what a change keeps."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.compile.model import (
    AppliedChange,
    CompiledJob,
    InstanceProposal,
    NothingCheaper,
    Performance,
    ServerPerformance,
)
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.passes.model import Preserves
from kaitoc.compiler.report.places import relative_path
from kaitoc.compiler.report.wording import plural

_SERVING = "serve"
"""The method of a server in its summary."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a report, before and after."""

    name: str
    before: str
    after: str


_PRESERVES = {
    Preserves.INTENT: "restores what was meant",
    Preserves.EXACT: "same result",
    Preserves.STATISTICAL: "statistically the same result",
    Preserves.CHANGES: "changes the result",
}


def size_text(num_bytes: int | None) -> str:
    """Return bytes in GiB, or a word for what cannot be told."""
    return "unknown" if num_bytes is None else format_gib(num_bytes)


def speed_text(tokens_per_second: float | None) -> str:
    """Return tokens per second, or a word for what cannot be told."""
    return "unknown" if tokens_per_second is None else f"{tokens_per_second:,.0f} tokens/s"


def is_server(job: CompiledJob) -> bool:
    """Return whether a job serves, so that peak and speed of training mean nothing."""
    return job.after.method == _SERVING


def figures_of(job: CompiledJob) -> list[Figure]:
    """List a server's figures before and after in display order; empty when unknown."""
    before, after = job.performance_before.server, job.performance_after.server
    if after is None:
        return []
    return [
        Figure("KV cache", _tokens_text(before), _tokens_text(after)),
        Figure("context", _context_text(before), _context_text(after)),
        Figure("requests of that context at once", _requests_text(before), _requests_text(after)),
        Figure("nodes", f"{before.num_nodes}" if before is not None else "unknown", f"{after.num_nodes}"),
        *_speed_figures(job, after),
    ]


def _speed_figures(job: CompiledJob, after: ServerPerformance) -> Iterator[Figure]:
    """Yield the estimates that a goal of speed asks for."""
    if after.speed is None:
        return
    performances, shape = (job.performance_before, job.performance_after), after.speed.shape
    speeds = [one.server.speed if one.server is not None else None for one in performances]
    first = (f"{speed.first_token_seconds * 1000:,.0f} ms" if speed is not None else "unknown" for speed in speeds)
    each = (f"{speed.token_seconds * 1000:,.1f} ms" if speed is not None else "unknown" for speed in speeds)
    full = (f"{speed_text(one.tokens_per_second)}" for one in performances)
    yield Figure(f"estimate, first token of a prompt of {shape.prompt_tokens:,}", *first)
    yield Figure("estimate, each token of one request", *each)
    yield Figure("estimate, output of a full server", *full)
    if has_cost(job):
        yield Figure("estimate, a million output tokens", *(cost_text(one) for one in performances))


def moved_figures(change: AppliedChange) -> tuple[str, str]:
    """Format the figures that a change affects: a run's peak and speed, a server's context and KV cache."""
    before, after = change.performance_before.server, change.performance_after.server
    if before is None and after is None:
        return peak_text(change), pace_text(change)
    return _moved(_context_text(before), _context_text(after)), _moved(_tokens_text(before), _tokens_text(after))


def names_of_figures(job: CompiledJob) -> tuple[str, str]:
    """Return the headings of `moved_figures`."""
    return ("Context", "KV cache") if is_server(job) else ("Peak", "Speed")


def _tokens_text(server: ServerPerformance | None) -> str:
    return f"{server.kv_tokens:,} tokens" if server is not None else "unknown"


def _context_text(server: ServerPerformance | None) -> str:
    if server is None:
        return "unknown"
    return f"{server.context_tokens:,} tokens" if server.context_tokens else "does not start"


def _requests_text(server: ServerPerformance | None) -> str:
    return f"{server.num_requests:.1f}" if server is not None else "unknown"


def has_cost(job: CompiledJob) -> bool:
    """Return whether the cost of a run is known, before or after compiling."""
    performances = (job.performance_before, job.performance_after)
    return any(performance.usd_per_million_tokens is not None for performance in performances)


def cost_text(performance: Performance) -> str:
    """Return the cost of a million tokens, or "unknown"."""
    cost = performance.usd_per_million_tokens
    return "unknown" if cost is None else f"USD {cost:.3f}"


def proposal_text(proposal: InstanceProposal | NothingCheaper) -> str:
    """Explain why another instance type is better, with the options that use or compare it, or that none is."""
    if isinstance(proposal, NothingCheaper):
        others = plural(proposal.num_others, "other instance type")
        cost = f"USD {proposal.usd_per_million_tokens:.3f} per million tokens"
        return f"compared with {others} by price, each with `--goal cost`: none is cheaper than {cost}"
    name = f"{proposal.name} ({proposal.num_gpus} x {proposal.gpu})"
    if proposal.usd_per_million_tokens is not None:
        return (
            f"a million tokens cost USD {proposal.usd_per_million_tokens:.3f} on {name}; "
            "--goal cost --allow-workspace-edits switches to it"
        )
    room = f"{size_text(proposal.peak_bytes)} of {size_text(proposal.capacity_bytes)}"
    return f"it also fits {name}: {room}; --price TYPE=USD for both types shows which is cheaper"


def gain_text(before: Performance, after: Performance) -> str:
    """Return the effect of a change on the predicted peak and speed, empty when there is none."""
    parts = []
    if before.server is not None and after.server is not None and before.server != after.server:
        parts.append(f"KV cache {_tokens_text(before.server)} -> {_tokens_text(after.server)}")
        if before.server.context_tokens != after.server.context_tokens:
            parts.append(f"context {_context_text(before.server)} -> {_context_text(after.server)}")
    if before.peak_bytes != after.peak_bytes and after.peak_bytes is not None:
        parts.append(f"{size_text(before.peak_bytes)} -> {size_text(after.peak_bytes)}")
    if before.tokens_per_second != after.tokens_per_second and after.tokens_per_second is not None:
        parts.append(f"{speed_text(before.tokens_per_second)} -> {speed_text(after.tokens_per_second)}")
    return ", ".join(parts)


def span_text(change: AppliedChange) -> str:
    """Format a change's place in the original file: `path:line:column`, with the end column if on one line."""
    start, end = change.position, change.end
    to = f"-{end.column}" if end.line == start.line and end.column > start.column else ""
    return f"{relative_path(change.path)}:{start.line}:{start.column}{to}"


def peak_text(change: AppliedChange) -> str:
    """Return the predicted peak before and after a change, once where it stays."""
    return _moved(size_text(change.performance_before.peak_bytes), size_text(change.performance_after.peak_bytes))


def pace_text(change: AppliedChange) -> str:
    """Return the predicted speed before and after a change, once where it stays."""
    before, after = change.performance_before, change.performance_after
    return _moved(speed_text(before.tokens_per_second), speed_text(after.tokens_per_second))


def _moved(before: str, after: str) -> str:
    return after if before == after else f"{before} → {after}"


def preserves_text(preserves: Preserves) -> str:
    """Say how far a change preserves the training result."""
    return _PRESERVES[preserves]
