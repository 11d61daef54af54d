"""A ConfigMap that a Workspace uses but that has no `training_config.yaml`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest, Place
from kaitoc.compiler.manifest.training_config import DATA_KEY, ROOT_KEY
from kaitoc.compiler.yaml.tree import Mapping, Scalar

CODE = "KT103"
NAME = "missing-training-config"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the ConfigMap has no text under the key, or the text no `training_config` mapping."""
    config_map = job.config_map
    if config_map is None:
        return
    field = config_map.field("data", DATA_KEY)
    if field is None:
        yield _missing_key(job, config_map)
    elif not isinstance(field.node, Scalar):
        message = f"`{DATA_KEY}` must hold text; ConfigMap values are strings"
        yield Fault(field.key, message, help=f"write `{DATA_KEY}: |` above the mapping")
    elif job.config is not None and not job.config.problems and job.config.root is None:
        if job.config.placeholder:
            return
        yield _missing_root(job, field.key)


def _missing_key(job: Job, config_map: Manifest) -> Fault:
    data = config_map.field("data")
    place = data.key if data is not None else config_map.place
    name = config_map.ref.name
    user = job.workspace.field("tuning", "config") if job.workspace is not None else None
    return Fault(
        place,
        f"the ConfigMap `{name}` has no `{DATA_KEY}`; Kaito refuses the Workspace that uses it",
        help=f"put the configuration under `data`, as `{DATA_KEY}: |`",
        related=(related("it is used here", user.value),) if user is not None else (),
    )


def _missing_root(job: Job, place: Place) -> Fault:
    root = job.config.document_root if job.config is not None else None
    if isinstance(root, Mapping) and root.get(ROOT_KEY) is not None:
        return Fault(place, f"`{ROOT_KEY}` must be a mapping of sections; Kaito's webhook refuses anything else")
    message = f"the text has no `{ROOT_KEY}` key; Kaito's runtime finds no configuration and stops"
    return Fault(place, message, help=f"start the text with `{ROOT_KEY}:` and indent the sections below it")
