"""Whether the instance type of a job is there at all: what is predicted for a node that cannot be is only noise."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.job.job import Job, Target


def is_removed(instance: InstanceType, release: Release) -> bool:
    """Return whether a release no longer lists an instance type."""
    return instance.last_release is not None and release.number > version_number(instance.last_release)[:2]


def has_removed_gpu(job: Job) -> bool:
    """Return whether a job's GPU is that of an instance type which its release no longer lists (KT320 says so)."""
    stated = job.instance_type
    if job.target is Target.BUNDLED or stated is None or job.gpu is None or job.gpu.place is None:
        return False
    instance = find_instance_type(stated.value)
    return instance is not None and is_removed(instance, job.release)
