"""What a pass over a server is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import ServingRule
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.passes.model import Goal, PassOver, Preserve


@dataclass(frozen=True, slots=True)
class ServingContext:
    """What passes may know beside the server.

    The goal, its bounds, the rules whose fixes are made, the other servers that share the ConfigMap, and whether a name
    that an object could use for a ConfigMap is taken.
    """

    goal: Goal = Goal.FIT
    preserve: Preserve = Preserve.STATISTICAL
    rules: Callable[[], tuple[ServingRule, ...]] = tuple
    allow_workspace_edits: bool = False
    siblings: tuple[ServingJob, ...] = ()
    has_config_map: Callable[[str, Manifest], bool] = lambda _, __: False


ServingPass: TypeAlias = "PassOver[ServingJob, ServingContext]"
"""A pass over a server."""
