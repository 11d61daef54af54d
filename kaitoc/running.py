"""Turns a manifest into a plan, and executes it in this process."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.check.notes import note_of_unjudged
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.job.assumptions import NOTHING_STATED, Overrides
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.missing_config import require_config
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.plan.memory import require_shardable, with_prediction
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import Plan, preferring
from kaitoc.compiler.plan.request import PlanRequest, RunError, notes_on, require_possible, runnable, with_processes
from kaitoc.runtime.data.download import is_address
from kaitoc.runtime.data.emptiness import require_rows
from kaitoc.runtime.world import is_launched, require_world
from kaitoc.unreadable_files import require_readable

if TYPE_CHECKING:
    from kaitoc.runtime.observe.report import RunReport


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan, the warnings about its manifest that hold for a run here, and notes on its processes."""

    plan: Plan
    warnings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def plan(
    path: str | os.PathLike[str],
    *,
    assume: Overrides = NOTHING_STATED,
    workspace: str | None = None,
    model_path: str | None = None,
    data: str | None = None,
    eval_data: str | None = None,
    output: str | None = None,
    merge: bool = False,
    oci_layout: bool = False,
    samples: int = 0,
    early_stopping: int | None = None,
    allow_pickle: bool = False,
    hub: bool = False,
    skip_bad_rows: bool = False,
    num_processes: int = 1,
    sharding: str = "auto",
    shard_group: int | None = None,
    task: str = "sft",
) -> Plan:
    """Return the plan of a manifest's fine-tune, as `kaitoc run --dry-run` prints it.

    `model_path`, `data` and `output` stand for the folders of Kaito's image; `eval_data` is for evaluation alone;
    `workspace` chooses one of several; `sharding` "auto" leaves it to `fsdp` of the manifest; `shard_group` is how many
    processes hold one copy of a sharded model together; `task` "dpo" learns from `chosen` and `rejected` answers.

    Raises `RunError` where the manifest has errors or no fine-tune, `PlanError` for what no run can follow,
    `SourceError` for a file that cannot be read, `SettingsError` and `AssumptionError`.
    """
    request = PlanRequest(
        workspace=workspace,
        model_path=model_path,
        data=data,
        eval_data=eval_data,
        output=output,
        merge=merge,
        oci_layout=oci_layout,
        samples=samples,
        early_stopping=early_stopping,
        allow_pickle=allow_pickle,
        hub=hub,
        skip_bad_rows=skip_bad_rows,
        num_processes=num_processes,
        sharding=sharding,
        shard_group=shard_group,
        task=task,
    )
    return checked_plan(os.fspath(path), assume, request).plan


def checked_plan(
    path: str, assume: Overrides, request: PlanRequest, settings: SettingsFinder | None = None
) -> CheckedPlan:
    """Return the plan of a manifest with the warnings about it; raises what `plan` raises.

    Without `settings` those of the files closest to the manifest apply.
    """
    require_possible(request, assume.gpu)
    engine = _engine_for(assume, settings or SettingsFinder())
    found = findings_of_run(engine, path, has_eval_data=request.eval_data is not None)
    job = job_in(engine, path, request.workspace)
    require_config(job)
    warnings = tuple(finding for finding in found if finding.severity is Severity.WARNING)
    made = _plan_of(job, path, request)
    return CheckedPlan(made, warnings, (*_notes_on_data(made, request), *notes_on(made, job, request)))


def _notes_on_data(made: Plan, request: PlanRequest) -> Iterator[str]:
    """Yield the data that is named and not here, as in a plan for another machine; raises `DataFailure` for no rows."""
    named = {"--data": made.data.paths if request.data is not None else (), "--eval-data": made.data.eval_paths}
    for option, paths in named.items():
        for path in paths:
            if is_address(path):
                continue
            if os.path.exists(path):
                require_rows(path, made.data.format)
            else:
                yield f"{option}: {path}: no such file or folder on this machine"


def _plan_of(job: Job, path: str, request: PlanRequest) -> Plan:
    made = plan_of(
        job,
        model_path=request.model_path,
        data=request.data,
        eval_data=request.eval_data,
        output=request.output,
        skip_bad_rows=request.skip_bad_rows,
        num_processes=request.num_processes or 1,
        shard_group=request.shard_group,
    )
    changes = {
        "model": {"allow_pickle": request.allow_pickle, "hub": request.hub},
        "output": {"merge": request.merge, "oci_layout": request.oci_layout, "samples": request.samples},
        "training": {"early_stopping_patience": request.early_stopping},
    }
    parts = {name: getattr(made, name).model_copy(update=change) for name, change in changes.items()}
    chosen = {} if request.sharding == "auto" else {"sharding": runnable(request.sharding)}
    made = made.model_copy(update={**parts, **chosen})
    if request.num_processes is not None:
        made = with_processes(made, request.num_processes, request.sharding)
    if request.task == "dpo":
        made = preferring(made, path)
    require_shardable(made)
    known = job.model.value if job.model is not None else None
    architecture = _local_architecture(request.model_path) or known
    return with_prediction(made, architecture, job.gpu.value if job.gpu is not None else None)


def run(
    what: Plan | str | os.PathLike[str],
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    use_cache: bool = True,
) -> RunReport:
    """Execute a plan, or the plan of a manifest, in this process; return the report of the run.

    `device` is `auto`, `cuda` or `cpu`; `resume` continues an earlier run in the output folder, `overwrite` replaces
    it; `use_cache` takes the data's tokens from an earlier run. What `kaitoc run` prints is left out; the files that it
    writes are written.

    Raises `RunError` where the runtime is not installed or the plan asks for several processes, `RunFailure` for a run
    that fails, and what `plan` raises.
    """
    made = what if isinstance(what, Plan) else plan(what)
    require_runtime()
    if made.num_processes > 1 and not is_launched():
        raise RunError("the plan is for several processes; start it with `kaitoc run` or torchrun")
    require_world(made.num_processes)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        from kaitoc.runtime.launch.ready import RunOptions  # torch and transformers take seconds
        from kaitoc.runtime.launch.run import run_plan

        return run_plan(made, RunOptions(device, resume, overwrite, show_progress=False, use_cache=use_cache))


def job_in(engine: Engine, path: str, workspace: str | None) -> Job:
    """Find the only job of a file, or a Workspace's; raises `RunError` when there is none or more than one."""
    file = engine.library.load(path)
    require_readable(engine, file)
    jobs = list(engine.jobs_of(file))
    if workspace is not None:
        jobs = [job for job in jobs if job.workspace is not None and job.workspace.ref.name == workspace]
        if not jobs:
            raise RunError(f"{path}: there is no tuning Workspace `{workspace}`", path=path)
    if not jobs:
        missing = f"{path}: there is no tuning Workspace or training config in it"
        raise RunError("\n".join(filter(None, (note_of_unjudged(file), missing))), path=path)
    if len(jobs) > 1:
        names = ", ".join(job.manifest.ref.name for job in jobs)
        raise RunError(f"{path}: there are several jobs ({names}); choose one with --workspace", path=path)
    return jobs[0]


def require_runtime() -> None:
    """Raise `RunError` where what the runtime needs is not installed."""
    missing = [name for name in ("torch", "transformers", "peft", "trl", "datasets") if find_spec(name) is None]
    if missing:
        raise RunError(f'the runtime needs {", ".join(missing)}; install it with `pip install "kaitoc[runtime]"`')


def _engine_for(assume: Overrides, settings: SettingsFinder) -> Engine:
    """Return the engine that checks a manifest for a local run, by the bundled runtime unless a target is stated."""
    return Engine(all_rules(), replace(assume, target=assume.target or "bundled"), settings)


def findings_of_run(engine: Engine, path: str, *, has_eval_data: bool = False) -> list[Finding]:
    """Return the findings in a manifest that matter for a local run, which may have data for evaluation of its own.

    Raises `RunError` where errors are among it, `SourceError` for a file that is no text.
    """
    outcome = engine.check([path])
    for error in outcome.errors:
        raise error
    for checked in outcome.checked:
        if checked.note and checked.num_kaito_objects == 0:
            raise RunError(checked.note, path=path)
    found = [one for one in _met_by_a_run(outcome) if not (has_eval_data and one.code == _OF_HELD_OUT_ROWS)]
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        lines = [f"{one.path}:{one.line}:{one.column}: {one.code} {one.message}" for one in errors[:_MOST_ERRORS]]
        what = "1 error stops" if len(errors) == 1 else f"{len(errors)} errors stop"
        lines.append(f"{what} the run; `kaitoc check {path} --target bundled` shows what to do")
        raise RunError("\n".join(lines), path=first.path, line=first.line, column=first.column)
    return found


_MOST_ERRORS = 10
"""More are a number; the first ones are most often the cause of the rest."""
_OF_THE_CLUSTER = (Area.ADMISSION, Area.MEMORY, Area.SPEED, Area.SERVING, Area.ENGINES)
_OF_THE_FILE = frozenset(("KT105", "KT109", "KT110"))
"""Rules on the manifest that are about what an API server refuses, or about suppressions for `kaitoc check`."""
_OF_HELD_OUT_ROWS = "KT428"
"""The rule on an evaluation for which no rows are held out."""


def _met_by_a_run(outcome: Outcome) -> list[Finding]:
    """Return the findings that a run here meets: what only Kaito's cluster refuses, or only its GPU, is none."""
    return [
        finding
        for finding in outcome.findings
        if area_of(finding.code) not in _OF_THE_CLUSTER and finding.code not in _OF_THE_FILE
    ]


def _local_architecture(folder: str | None) -> Architecture | None:
    """Return the architecture of a model folder, None when the closed form does not know it."""
    path = os.path.join(folder, "config.json") if folder is not None else ""
    if folder is None or not os.path.isfile(path):
        return None
    try:
        return from_config(os.path.basename(os.path.normpath(folder)), json.loads(Source.read(path).text))
    except (ArchitectureError, SourceError, ValueError, RecursionError):
        return None
