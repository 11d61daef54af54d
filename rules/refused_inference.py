"""An inference object that Kaito's webhook refuses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.controller_arguments import controller_does
from kaitoc.compiler.manifest.objects import Manifest, Place
from kaitoc.compiler.manifest.serving_objects import ServingView
from kaitoc.rules._server_admission import partition_faults, preset_faults, replica_faults, selector_faults

CODE = "KT351"
NAME = "refused-inference"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_MOST_ADAPTERS = 10


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield what the webhook says of presets, selectors, templates and adapters."""
    view = job.view
    if view is None:
        return
    yield from preset_faults(job, view)
    yield from selector_faults(job, view)
    yield from partition_faults(job, view)
    yield from replica_faults(job, view)
    if not view.role:
        yield from _of_inference(job, view)


def _of_inference(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    preset, template = view.inference.given("preset"), view.inference.given("template")
    if (preset is None) == (template is None):
        what = "neither `preset` nor `template`" if preset is None else "both `preset` and `template`"
        yield Fault(view.owner.place, f"`inference` has {what}; Kaito's webhook refuses it", help="keep exactly one")
    tuning = view.owner.given("tuning") if view.owner.is_workspace else None
    if tuning is not None:
        yield Fault(tuning.key, "a Workspace has either `inference` or `tuning`; Kaito's webhook refuses both")
    is_old = view.owner.api_version.endswith("/v1alpha1") and view.owner.is_workspace
    if is_old and job.preset is not None and controller_does(job.release, "panics_on_v1alpha1"):
        version = view.owner.field("apiVersion")
        message = f"Kaito {job.release}'s webhook panics on a v1alpha1 Workspace that serves a preset"
        yield Fault(version.value if version is not None else view.owner.place, message, help="write kaito.sh/v1beta1")
    yield from _of_adapters(job, view)


def _of_adapters(job: ServingJob, view: ServingView) -> Iterator[Fault]:
    adapters, names = view.adapters, set[str]()
    if len(adapters) > _MOST_ADAPTERS:
        yield Fault(_place(adapters[_MOST_ADAPTERS]), f"Kaito's webhook refuses more than {_MOST_ADAPTERS} adapters")
    for adapter in adapters:
        source, strength = adapter.given("source"), adapter.given("strength")
        if source is None:
            yield Fault(_place(adapter), "an adapter without `source` makes Kaito's webhook panic")
            continue
        name = adapter.text("source", "name")
        if name and name in names:
            yield Fault(source.key, f"Kaito's webhook refuses two adapters called `{name}`")
        names.add(name)
        if strength is not None and job.uses_vllm:
            yield Fault(strength.key, "vLLM does not support an adapter's strength; Kaito's webhook refuses it")


def _place(adapter: Manifest) -> Place:
    return Place(adapter.source, adapter.node.span, adapter.pointer, adapter.ref)
