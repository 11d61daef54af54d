"""A run that came to its end, asked to resume: its report again, and what only a new option asks for."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import OutputRefused
from kaitoc.runtime.model.load import load_tokenizer
from kaitoc.runtime.observe.report import RunReport, Sample
from kaitoc.runtime.output.adapter import result_folder
from kaitoc.runtime.output.checkpoints import require_same_plan
from kaitoc.runtime.output.earlier_run import list_results
from kaitoc.runtime.output.merge import merge
from kaitoc.runtime.output.names import IMAGE, MERGED, REPORT
from kaitoc.runtime.output.oci import write_image
from kaitoc.runtime.world import is_main_process


def report_of_finished_run(plan: Plan) -> RunReport:
    """Return the report that a finished run of the same plan left, and write nothing that is there already.

    `--merge` and `--oci-layout` are done now where that run did not. Raises `PlanFailure` for another plan.
    """
    output = Path(plan.output.path)
    require_same_plan(plan, output)
    report = _read_report(output / REPORT)
    if plan.lora is not None and is_main_process():
        _add_to_result(plan, output)
    return report


def _add_to_result(plan: Plan, output: Path) -> None:
    wants_merge = plan.output.merge and not (output / MERGED).is_dir()
    wants_image = plan.output.oci_layout and not (output / IMAGE).is_dir()
    if wants_merge:
        merge(plan, result_folder(plan), load_tokenizer(plan), output / MERGED)
    if wants_image:
        write_image(plan, result_folder(plan), output)
    if wants_merge or wants_image:
        list_results(output)


def _read_report(path: Path) -> RunReport:
    """Read the report of a run; raises `OutputRefused` for one that this program did not write."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["samples"] = tuple(Sample(**sample) for sample in content.get("samples", ()))
        return RunReport(**{field.name: content[field.name] for field in fields(RunReport) if field.name in content})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputRefused(f"{path}: not a run's report; --overwrite starts over") from error
