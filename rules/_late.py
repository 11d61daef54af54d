"""Rules that are loaded when a file holds what they judge."""

from __future__ import annotations

from kaitoc.compiler.job.faults import ClusterRule, Rule, ServingRule, UpdateRule
from kaitoc.compiler.job.job_rules import LateRule
from kaitoc.compiler.job.subjects import Subject


def late(name: str, *subjects: Subject) -> LateRule:
    """Return the rule of a module here that finds nothing in a job without one of some subjects."""
    return LateRule(f"{__package__}.{name}", frozenset(subjects))


def serving_rules() -> tuple[ServingRule, ...]:
    """Load the rules for servers: a Workspace with `inference`, an InferenceSet, a role of a MultiRoleInference."""
    from kaitoc.rules._servers import SERVING_RULES  # a check of what only tunes does without

    return SERVING_RULES


def cluster_rules() -> tuple[ClusterRule, ...]:
    """Load the rules for runs of a plan without Kaito: a TrainJob, a JobSet, a PyTorchJob."""
    from kaitoc.rules._cluster import CLUSTER_RULES  # few files hold such a run

    return CLUSTER_RULES


def update_rules() -> tuple[UpdateRule, ...]:
    """Load the rules that compare two versions of an object; admission applies them."""
    from kaitoc.rules import immutable_field, unnoticed_edit  # a check sees one version of each object

    return (immutable_field, unnoticed_edit)


def engine_rules() -> tuple[Rule, ...]:
    """Load the rules without a check of their own: the engine itself finds their faults."""
    from kaitoc.rules import unused_suppression  # it says nothing but how the rule is called

    return (unused_suppression,)
