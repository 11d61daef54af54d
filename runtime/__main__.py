"""`python -m kaitoc.runtime PLAN.json` executes a plan, in several processes when it asks for them.

`torchrun` or `accelerate launch -m kaitoc.runtime PLAN.json` start the processes themselves, as on several machines.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from kaitoc.compiler.plan.plan import Plan, PlanError, read_plan
from kaitoc.runtime.failures import EXIT_INTERRUPTED, EXIT_OUT_OF_MEMORY, EXIT_USAGE, RunFailure
from kaitoc.runtime.launch.auto_fit import as_left_off, next_candidate
from kaitoc.runtime.launch.processes import launch, needs_launch, tell
from kaitoc.runtime.world import free_memory, grow_segments, is_main_process


def main() -> int:
    """Run the plan that the command line names and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kaitoc.runtime", description=__doc__)
    parser.add_argument("plan", help="a plan, as `kaitoc run --dry-run` prints it")
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--auto-fit", action="store_true", help="on out-of-memory, try again with less")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="serve the numbers to Prometheus")
    arguments = parser.parse_args()
    try:
        plan = read_plan(Path(arguments.plan).read_text(encoding="utf-8"), arguments.plan)
    except (PlanError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"kaitoc: {error}\n")
        return EXIT_USAGE
    return execute(
        plan, arguments.device, arguments.resume, auto_fit=arguments.auto_fit, metrics_port=arguments.metrics_port
    )


def execute(plan: Plan, device: str, resume: bool, *, auto_fit: bool = False, metrics_port: int | None = None) -> int:
    """Run a plan, print its report and return the exit code; failures become one message.

    With `auto_fit` a plan that does not fit is run again with less memory, as long as something is left to try; a run
    that is resumed goes on with what was found to fit.
    """
    grow_segments()
    if auto_fit and resume:
        plan = as_left_off(plan, device)
    code = _execute_once(plan, device, resume, metrics_port)
    while code == EXIT_OUT_OF_MEMORY and auto_fit:
        candidate = next_candidate(plan)
        if candidate is None:
            sys.stderr.write("kaitoc: nothing is left to try that keeps the result\n")
            break
        plan, change = candidate
        sys.stderr.write(f"kaitoc: trying again with {change}\n")
        free_memory()
        code = _execute_once(plan, device, False, metrics_port)
    return code


def _execute_once(plan: Plan, device: str, resume: bool, metrics_port: int | None) -> int:
    if needs_launch(plan):
        return launch(plan, device, resume=resume, metrics_port=metrics_port)
    # bitsandbytes complains on import that an optional CPU kernel is not installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from kaitoc.runtime.launch.ready import RunOptions
    from kaitoc.runtime.launch.run import run_plan

    try:
        report = run_plan(plan, RunOptions(device, resume, metrics_port=metrics_port))
    except RunFailure as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        tell(RunFailure("stopped by Ctrl-C; `--resume` goes on from the last checkpoint"))
        return EXIT_INTERRUPTED
    if is_main_process():
        sys.stdout.write(report.to_text() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
