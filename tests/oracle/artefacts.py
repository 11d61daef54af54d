"""What a record is worth where the recorder differs from a GPU node (`artefacts.json`)."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_Json = dict[str, Any]


@cache
def known_artefacts() -> _Json:
    known: _Json = json.loads(Path(__file__).with_name("artefacts.json").read_text(encoding="utf-8"))
    return known


def artefact_of_stop(record: _Json) -> str:
    """Return the artefact that a stop is, empty where a GPU node stops too."""
    for known in known_artefacts()["stops"]:
        is_of_it = known.get("message", "\0") in record.get("message", "") or known.get("exception") == record.get(
            "exception"
        )
        if is_of_it and re.search(known["options"], record["id"]):
            return str(known["name"])
    return ""


def artefact_of_training(record: _Json, codes: set[str]) -> str:
    """Return the artefact that training on is, empty where a GPU node trains too."""
    for known in known_artefacts()["trains"]:
        if codes <= set(known["codes"]) and re.search(known["options"], record["id"]):
            return str(known["name"])
    return ""


def is_explained(record: _Json) -> bool:
    """Return whether nothing is learned for a reason that no option shows."""
    return any(re.search(known["options"], record["id"]) for known in known_artefacts()["unlearned"])
