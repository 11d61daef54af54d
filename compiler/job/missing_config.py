"""A Workspace whose ConfigMap is not at hand: there is nothing to compile, to estimate or to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Field
from kaitoc.compiler.yaml.placeholders import UnknownValueError

if TYPE_CHECKING:
    from kaitoc.compiler.job.serving_job import ServingJob


class MissingConfigError(KaitocError):
    """A Workspace that names a ConfigMap which no file at hand holds; `str(error)` says where and which."""


def missing_config(job: Job) -> str:
    """Explain where a Workspace names a missing ConfigMap and how to fix it; empty when it has its config."""
    if job.workspace is None or job.config is not None or job.config_map is not None or job.may_name_unknown:
        return ""
    return _missing(job.workspace.field("tuning", "config"))


def missing_serving_config(job: ServingJob) -> str:
    """Do the same for an object that serves."""
    if job.view is None or job.config_map is not None or job.may_name_unknown:
        return ""
    try:
        return _missing(job.view.config)
    except UnknownValueError:
        return ""


def _missing(field: Field | None) -> str:
    if field is None or not field.is_known or not field.text:
        return ""
    source = field.value.source
    start = source.position(field.value.span.start)
    return (
        f"{source.path}:{start.line}:{start.column}: the ConfigMap `{field.text}` is not in this file, its folder or "
        "the given paths; pass the file that holds it too"
    )


def require_config(job: Job) -> None:
    """Raise `MissingConfigError` for a job without a training config: none is at hand, or none that can be read."""
    path = job.manifest.source.path
    if job.config is None:
        ref = job.manifest.ref
        who = f"`{ref.name}`" if ref.name else f"a {ref.kind} without a name"
        unread = f"{path}: {who} has no training config that can be read; `kaitoc check` says why"
        raise MissingConfigError(missing_config(job) or unread, path=path)
