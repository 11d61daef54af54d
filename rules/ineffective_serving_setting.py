"""A field or annotation that Kaito does not read for inference."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import RUNTIME_ANNOTATION, TRANSFORMERS, ServingJob
from kaitoc.compiler.kaito.controller_arguments import controller_does

CODE = "KT729"
NAME = "ineffective-serving-setting"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

BYPASS_ANNOTATION = "kaito.sh/bypass-resource-checks"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield settings that a release accepts and never reads."""
    view = job.view
    if view is None:
        return
    for path in (("preset", "presetOptions", "image"), ("preset", "accessMode")):
        field = view.inference.given(*path)
        if field is not None and controller_does(job.release, "ignores_image") and field.text != "public":
            yield Fault(field.key, f"Kaito {job.release} ignores `{path[-1]}` for inference", severity=Severity.INFO)
    limit = view.owner.given("spec", "nodeCountLimit")
    if limit is not None:
        yield Fault(limit.key, "Kaito never reads `nodeCountLimit`: there is no limit")
    runtime = job.annotation(RUNTIME_ANNOTATION)
    annotation = view.holder.field("metadata", "annotations", RUNTIME_ANNOTATION)
    if annotation is not None and runtime not in ("vllm", TRANSFORMERS):
        yield Fault(
            annotation.value, f"`{runtime}` is not a runtime of Kaito: vLLM runs the model", help="write `vllm`"
        )
    bypass = view.holder.field("metadata", "annotations", BYPASS_ANNOTATION)
    if bypass is not None and bypass.text != "true":
        message = f"`{BYPASS_ANNOTATION}` counts whatever its value: Kaito compares no memory"
        yield Fault(bypass.value, message, help="remove the annotation")
    if view.config is not None and not job.uses_vllm:
        message = "the transformers runtime does not read `config`: the ConfigMap has no effect"
        yield Fault(view.config.key, message, severity=Severity.INFO)
