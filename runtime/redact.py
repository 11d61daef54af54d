"""Takes secrets out of what is written down: credentials in addresses, tokens among the training arguments."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from kaitoc.compiler.plan import Plan

HIDDEN = "***"
_SECRET_NAME = re.compile(r"(token|secret|password|credential|api_?key)s?$", re.IGNORECASE)


def redacted_address(address: str) -> str:
    """Return an address without user, password, query and fragment, any of which may be a credential.

    A signed address (an Azure SAS, an S3 presigned URL) carries its signature in the query.
    """
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port is not None else host
    except ValueError:
        return HIDDEN
    return urlunsplit((parts.scheme, place, parts.path, HIDDEN if parts.query else "", ""))


def redacted(plan: Plan) -> Plan:
    """Return a plan that may be shown and kept beside its results."""
    extra = {
        name: HIDDEN if _SECRET_NAME.search(name) and value is not None else value
        for name, value in plan.training.extra_training_arguments.items()
    }
    paths = tuple(redacted_address(path) for path in plan.data.paths)
    return plan.model_copy(
        update={
            "data": plan.data.model_copy(update={"paths": paths}),
            "training": plan.training.model_copy(update={"extra_training_arguments": extra}),
        }
    )
