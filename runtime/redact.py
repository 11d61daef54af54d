"""Takes secrets out of a plan that is written down: credentials in addresses, tokens among the training arguments."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.core.redaction import HIDDEN, is_secret, redacted_address, redacted_text
from kaitoc.compiler.plan.plan import Plan


def without_secrets(name: str, value: Any) -> Any:
    """Return the value of an argument, JSON text and mappings too, with secrets and credentials in it replaced."""
    if is_secret(name) and value is not None:
        return HIDDEN
    if isinstance(value, dict):
        return {inner: without_secrets(inner, item) for inner, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(name, item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value


def redacted(plan: Plan) -> Plan:
    """Return a plan that may be shown and kept beside its results."""
    extra = {name: without_secrets(name, value) for name, value in plan.training.extra_training_arguments.items()}
    provenance = plan.provenance.model_copy(update={"manifest": redacted_address(plan.provenance.manifest)})
    paths, eval_paths = (
        tuple(redacted_address(path) for path in named) for named in (plan.data.paths, plan.data.eval_paths)
    )
    return plan.model_copy(
        update={
            "data": plan.data.model_copy(update={"paths": paths, "eval_paths": eval_paths}),
            "training": plan.training.model_copy(update={"extra_training_arguments": extra}),
            "provenance": provenance,
        }
    )
