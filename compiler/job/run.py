"""The run of a job: what it comes to, wherever its objects stand and whatever they are called.

Manifests are made from one another, so many jobs have equal runs. What follows from a run is derived once for all.
"""

from __future__ import annotations

from kaitoc.compiler.core.annotations import Any, NoReturn
from kaitoc.compiler.core.memo import Memo, SizedCache
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Assumptions, Job, Setting
from kaitoc.compiler.manifest.training_config import TrainingConfig

_REMEMBERED_RUNS = 16
"""Runs with one text as their config, of which there are as many as Workspaces can differ."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What decides a run besides the text of its config: values, each with who states it, and what is assumed."""

    template: str
    preset: tuple[object, str] | None
    model: tuple[object, str] | None
    instance_type: tuple[object, str] | None
    gpu: tuple[object, str] | None
    num_gpus: int
    method: tuple[object, str] | None
    assumptions: Assumptions


class BeyondRunError(Exception):
    """A question that the run of a job alone does not answer."""


class _RunAlone(Job):
    """A job that answers for its run alone: whoever asks it for an object of a file is stopped."""

    @property
    def workspace(self) -> NoReturn:
        """Refuse the Workspace."""
        raise BeyondRunError

    @property
    def config_map(self) -> NoReturn:
        """Refuse the ConfigMap."""
        raise BeyondRunError

    @property
    def idle_workspaces(self) -> NoReturn:
        """Refuse the Workspaces beside the ConfigMap."""
        raise BeyondRunError

    @property
    def may_name_unknown(self) -> NoReturn:
        """Refuse to say what the Workspace's file holds besides."""
        raise BeyondRunError

    @property
    def is_served(self) -> NoReturn:
        """Refuse to say what else is at hand."""
        raise BeyondRunError


def memo_of_run(job: Job) -> Memo:
    """Return the memo for what follows from a job's run; equal runs share it while their config's text is remembered.

    A job without a config has one of its own.
    """
    config = job.config
    return job.memo.get("run", lambda: _shared_memo(job, config) if config is not None else Memo())


def is_first_of_run(job: Job) -> bool:
    """Return whether no other job has asked this for its equal run before."""
    token = job.memo.get("token", object)  # the run lives longer than the job, and holds nothing of it
    return memo_of_run(job).get("first", lambda: token) is token


def run_alone(job: Job) -> Job:
    """Return a job that raises `BeyondRunError` where more than its run is asked for."""
    alone = _RunAlone.__new__(_RunAlone)
    vars(alone).update(vars(job), memo=Memo())
    return alone


def _shared_memo(job: Job, config: TrainingConfig) -> Memo:
    run = _Run(
        job.template,
        _value(job.preset),
        _value(job.model),
        _value(job.instance_type),
        _value(job.gpu),
        job.num_gpus,
        _value(job.method),
        job.assumptions,
    )
    runs: SizedCache[_Run, Memo] = config.memo.get("runs", lambda: SizedCache(_REMEMBERED_RUNS))
    memo = runs.get(run)
    if memo is None:
        memo = Memo()
        runs.put(run, memo, 1)
    return memo


def _value(setting: Setting[Any] | None) -> tuple[object, str] | None:
    return (setting.value, setting.origin) if setting is not None else None
