"""Takes secrets out of a plan that is written down: credentials in addresses, tokens among the training arguments."""

from __future__ import annotations

import re

from kaitoc.compiler.core.redaction import HIDDEN, redacted_address
from kaitoc.compiler.plan.plan import Plan

_SECRET_NAME = re.compile(r"(token|secret|password|credential|api_?key)s?$", re.IGNORECASE)


_OF_A_VOCABULARY = ("eos_token", "pad_token")


def is_secret(name: str) -> bool:
    """Return whether an argument's name says that its value is a secret."""
    return name not in _OF_A_VOCABULARY and _SECRET_NAME.search(name) is not None


def redacted(plan: Plan) -> Plan:
    """Return a plan that may be shown and kept beside its results."""
    extra = {
        name: HIDDEN if is_secret(name) and value is not None else value
        for name, value in plan.training.extra_training_arguments.items()
    }
    paths, eval_paths = (
        tuple(redacted_address(path) for path in named) for named in (plan.data.paths, plan.data.eval_paths)
    )
    return plan.model_copy(
        update={
            "data": plan.data.model_copy(update={"paths": paths, "eval_paths": eval_paths}),
            "training": plan.training.model_copy(update={"extra_training_arguments": extra}),
        }
    )
