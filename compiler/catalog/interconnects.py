"""What NCCL needs to know of the network between nodes (`schemas/catalog/interconnects.json`)."""

from __future__ import annotations

import re

from kaitoc.schemas import read_json


def nccl_environment(instance_type: str) -> dict[str, str]:
    """Return NCCL's environment variables on an instance type, none where they are not known."""
    for entry in read_json("catalog/interconnects")["interconnects"]:
        if re.fullmatch(entry["instance_type"], instance_type, re.IGNORECASE):
            return dict(entry["environment"])
    return {}
