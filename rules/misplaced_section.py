"""A section outside `training_config`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Place, escape_pointer
from kaitoc.compiler.manifest.training_config import ROOT_KEY, SECTIONS
from kaitoc.compiler.yaml.tree import Mapping

CODE = "KT104"
NAME = "misplaced-section"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    config = job.config
    if config is None or job.uses_template or not isinstance(config.document_root, Mapping):
        return
    if config.document_root.get(ROOT_KEY) is None:
        return
    for entry in config.document_root.entries:
        if entry.name in SECTIONS:
            pointer = f"{config.host.pointer}/{escape_pointer(entry.name)}"
            place = Place(config.host.source, entry.key.span, pointer, config.host.object)
            yield Fault(
                place,
                f"`{entry.name}` is next to `{ROOT_KEY}`, not under it, and is ignored; its defaults apply",
                help=f"indent it under `{ROOT_KEY}`",
            )
