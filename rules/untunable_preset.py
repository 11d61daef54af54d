"""A preset that Kaito cannot tune."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import lost_presets
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target

CODE = "KT319"
NAME = "untunable-preset"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    preset = job.preset
    if preset is None or preset.place is None or job.target is Target.BUNDLED:
        return
    presets = job.release.tunable_presets
    model = find_model(preset.value)
    name = model.name if model is not None else preset.value
    lookup = lost_presets().get(name)
    if lookup is not None:
        yield Fault(
            preset.place,
            f"the controller of Kaito {job.release.name} fails on `{preset.value}`: it looks the model up as "
            f"`{lookup}`, which its list does not have; the GPU node is provisioned first",
            help=_alternatives(presets),
        )
    elif name not in presets:
        yield Fault(
            preset.place,
            f"Kaito {job.release.name} cannot tune `{preset.value}`; {_consequence(preset.value, model is not None)}",
            help=_alternatives(presets),
        )


def _consequence(preset: str, is_known: bool) -> str:
    """Describe the consequence: names of the form a/b and known presets pass the webhook."""
    if "/" in preset or is_known:
        return "if the webhook admits it, the controller fails after the GPU node was provisioned"
    return "the webhook refuses names that are not presets"


def _alternatives(presets: tuple[str, ...]) -> str:
    return "it tunes " + ", ".join(presets)
