"""A Workspace whose ConfigMap is not at hand: there is nothing to compile, to estimate or to run."""

from __future__ import annotations

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.job.job import Job


class MissingConfigError(KaitocError):
    """A Workspace that names a ConfigMap which no file at hand holds; `str(error)` says where and which."""


def missing_config(job: Job) -> str:
    """Return where a Workspace names a ConfigMap that is not at hand, and what to do; empty where it has its config."""
    if job.workspace is None or job.config is not None or job.config_map is not None or job.may_name_unknown:
        return ""
    field = job.workspace.field("tuning", "config")
    name = field.text if field is not None else None
    if field is None or not name:
        return ""
    source = field.value.source
    start = source.position(field.value.span.start)
    return (
        f"{source.path}:{start.line}:{start.column}: the ConfigMap `{name}` is not in this file, its folder or the "
        "given paths; pass the file that holds it too"
    )


def require_config(job: Job) -> None:
    """Raise `MissingConfigError` where a Workspace names a ConfigMap that is not at hand."""
    message = missing_config(job)
    if message:
        raise MissingConfigError(message, path=job.manifest.source.path)
