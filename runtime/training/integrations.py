"""Packages that a plan may ask for beside the runtime's own: trackers that transformers reports to, Liger's kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure

LOGS = "runs"
_LOGS_VARIABLE = "TENSORBOARD_LOGGING_DIR"
_LIGER = "use_liger_kernel"


def require_integrations(plan: Plan, device: str) -> None:
    """Raise `PlanFailure` when a plan asks for a tracker or for kernels that are not installed."""
    try:
        for make_callback in get_reporting_integration_callbacks(list(plan.training.report_to)):
            make_callback()
    except (ImportError, RuntimeError, ValueError) as error:
        raise PlanFailure(f"`report_to`: {error}") from error
    if wants_liger(plan) and device != "cpu" and find_spec("liger_kernel") is None:
        raise PlanFailure(f'`{_LIGER}` needs a package; install it with `pip install "kaitoc[liger]"`')


def wants_liger(plan: Plan) -> bool:
    """Return whether a plan asks for Liger's fused kernels, which are written for GPUs: on a CPU they are left out."""
    return bool(plan.training.extra_training_arguments.get(_LIGER))


@contextmanager
def tensorboard_logs(output: Path) -> Iterator[None]:
    """Have TensorBoard's files written beside the results, unless the environment names a place.

    transformers would put them among the checkpoints, which a run without `--resume` begins by deleting.
    """
    if _LOGS_VARIABLE in os.environ:
        yield
        return
    os.environ[_LOGS_VARIABLE] = str(output / LOGS)
    try:
        yield
    finally:
        del os.environ[_LOGS_VARIABLE]
