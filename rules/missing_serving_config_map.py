"""A ConfigMap with a serving config that is not among the given manifests."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.serving_config import SERVING_DATA_KEY

CODE = "KT352"
NAME = "missing-serving-config-map"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a ConfigMap that is nowhere to be found, and one without `inference_config.yaml`."""
    view = job.view
    field = view.config if view is not None else None
    if field is None or not field.text:
        return
    if job.config_map is None and not job.may_name_unknown:
        yield Fault(
            field.value,
            f"the ConfigMap `{field.text}` is not in this file, its folder or the given paths, so it was not checked",
            help="pass the file that holds it too; Kaito refuses the object if the cluster does not have it either",
        )
    elif job.config_map is not None and job.uses_vllm and job.config_map.entry("data", SERVING_DATA_KEY) is None:
        message = f"the ConfigMap `{field.text}` has no `{SERVING_DATA_KEY}`; Kaito refuses the object that uses it"
        yield Fault(job.config_map.place, message, severity=Severity.ERROR)
