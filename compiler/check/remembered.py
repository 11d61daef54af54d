"""What the engine remembers: of one check, and of all checks under the same options."""

from __future__ import annotations

from collections import OrderedDict

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.memo import SizedCache
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.job.faults import JobRule
from kaitoc.compiler.job.job import Assumptions, Job
from kaitoc.compiler.job.subjects import Subjects

_REMEMBERED_JOBS = 512
"""Jobs of two files whose findings are kept until the other file is checked, which often lies close by."""

_REMEMBERED_SUBJECTS = 64
"""Different configs whose rules are kept: files of one repository mostly write the same options."""


@dataclass(slots=True)
class Met:
    """What one check has met: findings of jobs of two files, owners of ConfigMaps beside files, jobs told already."""

    found_in_jobs: OrderedDict[tuple[str, int, str, int, str], list[Finding]] = field(default_factory=OrderedDict)
    owners: dict[str, str] = field(default_factory=dict)
    jobs: set[tuple[str, int, str, int]] = field(default_factory=set)

    def keep_found(self, key: tuple[str, int, str, int, str], findings: list[Finding]) -> None:
        """Keep what was found in a job of two files, and give up what was found longest ago."""
        self.found_in_jobs[key] = findings
        if len(self.found_in_jobs) > _REMEMBERED_JOBS:
            self.found_in_jobs.popitem(last=False)


@dataclass(slots=True)
class BySettings:
    """What follows from the options and a settings file alone, by the file's path; it holds for every check.

    Of the rules for jobs those of the jobs of late, by what they have for rules to be about.
    """

    assumptions: dict[str, Assumptions] = field(default_factory=dict)
    job_rules: SizedCache[tuple[str, Subjects, Subjects], tuple[JobRule, ...]] = field(
        default_factory=lambda: SizedCache(_REMEMBERED_SUBJECTS)
    )


def identity_of(job: Job) -> tuple[str, int, str, int]:
    """Return the identity of a job: the places of its Workspace and its ConfigMap."""
    manifest, other = job.manifest, job.config_map or job.manifest
    return (manifest.source.path, manifest.node.span.start, other.source.path, other.node.span.start)
