"""`python -m kaitoc.runtime PLAN.json` executes a plan, in several processes when it asks for them.

On several nodes each starts its own processes, by the environment that Kubeflow Trainer, a JobSet or the training
operator gives its pods. `torchrun` or `accelerate launch -m kaitoc.runtime PLAN.json` start the processes themselves.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.plan.plan import Plan, PlanError, read_plan
from kaitoc.runtime.failures import EXIT_INTERRUPTED, EXIT_OUT_OF_MEMORY, EXIT_USAGE, FinalFailure, RunFailure
from kaitoc.runtime.launch.auto_fit import as_left_off, next_candidate
from kaitoc.runtime.launch.nodes import NodeGroup, node_group
from kaitoc.runtime.launch.processes import (
    DEFAULT_GRACE_SECONDS,
    GRACE_VARIABLE,
    Execution,
    grace_seconds_of,
    launch,
    needs_launch,
    tell,
)
from kaitoc.runtime.launch.signals import ended_by_sigterm
from kaitoc.runtime.notes import note
from kaitoc.runtime.output.checkpoints import describe_kept
from kaitoc.runtime.output.names import CHECKPOINTS
from kaitoc.runtime.world import free_memory, grow_segments, is_launched, is_main_process, leave, require_world


def main() -> int:
    """Run the plan that the command line names and return the exit code."""
    try:
        return _run_command()
    except KeyboardInterrupt:  # before or after the run, which tells of its own
        note("kaitoc: stopped by Ctrl-C")
        return EXIT_INTERRUPTED


def _run_command() -> int:
    parser = argparse.ArgumentParser(prog="python -m kaitoc.runtime", description=__doc__)
    parser.add_argument("plan", help="a plan, as `kaitoc run --dry-run` prints it")
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="continue from the newest complete checkpoint")
    earlier.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote into the output")
    parser.add_argument("--auto-fit", action="store_true", help="if out of memory, retry with settings that need less")
    parser.add_argument(
        "--grace-seconds",
        type=float,
        metavar="S",
        help=f"time for workers to save after SIGTERM (default: {GRACE_VARIABLE}, else {DEFAULT_GRACE_SECONDS:g})",
    )
    parser.add_argument("--no-cache", action="store_true", help="tokenize the data again, and do not cache the tokens")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="serve Prometheus metrics on this port")
    arguments = parser.parse_args()
    how = Execution(
        arguments.device,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        metrics_port=arguments.metrics_port,
        grace_seconds=arguments.grace_seconds,
        use_cache=not arguments.no_cache,
    )
    try:
        plan = read_plan(Source.read(arguments.plan).text, arguments.plan)
    except (PlanError, SourceError) as error:
        note(f"kaitoc: {error}")
        return EXIT_USAGE
    return execute(plan, how, auto_fit=arguments.auto_fit)


def execute(plan: Plan, how: Execution, *, auto_fit: bool = False) -> int:
    """Run a plan, print its report and return the exit code; failures become one message.

    With `auto_fit` a plan that does not fit is run again with less memory, as long as something is left to try; a run
    that is resumed goes on with what was found to fit. All attempts are one run: a later one replaces what an earlier
    one left.
    """
    try:
        grace_seconds_of(how.grace_seconds, os.environ)
        group = node_group(plan.num_processes, how.device, os.environ)
        if group is None:
            require_world(plan.num_processes)
        if auto_fit and (group is not None or is_launched()):
            raise FinalFailure("--auto-fit is incompatible with a launcher: each process would retry on its own")
    except (ValueError, FinalFailure) as error:
        tell(error)
        return EXIT_USAGE
    grow_segments()
    if auto_fit and how.resume:
        plan = as_left_off(plan, how.device)
    code = _execute_once(plan, how, group)
    while code == EXIT_OUT_OF_MEMORY and auto_fit:
        candidate = next_candidate(plan)
        if candidate is None:
            note("kaitoc: no other setting is left that keeps the result")
            break
        plan, change = candidate
        note(f"kaitoc: retrying with {change}")
        free_memory()
        code = _execute_once(plan, replace(how, resume=False, overwrite=True))
    return code


def _execute_once(plan: Plan, how: Execution, group: NodeGroup | None = None) -> int:
    # bitsandbytes complains on import that an optional CPU kernel is not installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        with ended_by_sigterm():  # the libraries take many seconds
            if needs_launch(plan):
                return launch(plan, how, group)
            from kaitoc.runtime.launch.ready import RunOptions
            from kaitoc.runtime.launch.run import run_plan

        options = RunOptions(
            how.device, how.resume, how.overwrite, use_cache=how.use_cache, metrics_port=how.metrics_port
        )
        report = run_plan(plan, options)
    except RunFailure as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        tell(RunFailure(f"stopped by Ctrl-C; {describe_kept(Path(plan.output.path) / CHECKPOINTS)}"))
        return EXIT_INTERRUPTED
    if is_main_process():
        note(report.to_text(), sys.stdout)
    return 0


if __name__ == "__main__":
    leave(main())
