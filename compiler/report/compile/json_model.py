"""The compile report, version 1, as types; `schemas/compile_report.json` is generated from them.

Lines and columns are 1-based, offsets count characters; both are those of the file as it was given, and for lines that
compiling added those of the place they were added at. Memory is in bytes of one GPU, speed in tokens per second of all
GPUs.
"""

from __future__ import annotations

from typing import Literal

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.report.json_model import JsonJob, JsonPosition, JsonSpan


@dataclass(frozen=True, slots=True)
class JsonServerPerformance:
    """What a server holds: tokens in the KV cache of one replica, its context, requests of it; 0 if it cannot start.

    `num_nodes` are those that Kaito starts for it. Times are estimates for comparing configurations, of a
    request of `prompt_tokens` and `output_tokens` that is served alone; null without a goal of speed.
    """

    kv_tokens: int
    context_tokens: int
    num_requests: float
    num_nodes: int
    first_token_seconds: float | None
    token_seconds: float | None
    prompt_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class JsonPerformance:
    """What a configuration is predicted to need and to give; null where that is unknown, `server` but for servers."""

    peak_bytes: int | None
    tokens_per_second: float | None
    step_seconds: float | None
    price_per_million_tokens: float | None
    server: JsonServerPerformance | None


@dataclass(frozen=True, slots=True)
class JsonChange:
    """One change. `before` is empty for something new, `after` for something removed.

    `preserves` says what is kept of the training result: `intent` marks the repair of a run that crashed or trained
    something else than the manifest says. `code` is the rule whose fix it is, if any.
    """

    pass_name: str
    what: str
    before: str
    after: str
    reason: str
    preserves: Literal["intent", "exact", "statistical", "changes"]
    file: str
    span: JsonSpan
    pointer: str
    code: str
    performance_before: JsonPerformance
    performance_after: JsonPerformance


@dataclass(frozen=True, slots=True)
class JsonProposal:
    """The smallest instance type on which the compiled run fits, with `num_changes` more that keep the result."""

    instance_type: str
    gpu: str
    num_gpus: int
    peak_bytes: int
    capacity_bytes: int
    num_changes: int


@dataclass(frozen=True, slots=True)
class JsonCompiledJob:
    """One run before and after. `binding` says why it cannot fit, empty when it does."""

    before: JsonJob
    after: JsonJob
    performance_before: JsonPerformance
    performance_after: JsonPerformance
    changes: list[JsonChange]
    binding: str
    proposal: JsonProposal | None


@dataclass(frozen=True, slots=True)
class JsonProblem:
    """A finding at error level that no pass repairs; because of it nothing is written."""

    code: str
    message: str
    file: str
    start: JsonPosition


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file and what changed in it, as a unified diff."""

    file: str
    changed: bool
    diff: str


@dataclass(frozen=True, slots=True)
class JsonCompileReport:
    """What `kaitoc compile --report FILE.json` writes."""

    version: Literal[1]
    goal: Literal["fit", "latency", "throughput", "memory", "cost"]
    refused: bool
    files: list[JsonFile]
    jobs: list[JsonCompiledJob]
    problems: list[JsonProblem]
