"""What tells a base model's weights from those of another, without reading all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kaitoc.compiler.plan.plan import Plan

_SAMPLE_BYTES = 1 << 16


def with_fingerprint(plan: Plan) -> Plan:
    """Return a plan that says which weights its adapter is for."""
    provenance = plan.provenance.model_copy(update={"base_fingerprint": fingerprint(Path(plan.model.path))})
    return plan.model_copy(update={"provenance": provenance})


def fingerprint(folder: Path) -> str:
    """Return a digest of a model folder's weights, "" for a hub's model or a folder that holds none.

    It is made of the size, the beginning and the end of each file: the beginning of a safetensors file lists all its
    tensors with their shapes, and fine-tuning or another seed changes the numbers at the end.
    """
    try:
        files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
        digest = hashlib.sha256()
        for file in files:
            num_bytes = file.stat().st_size
            digest.update(f"{file.name} {num_bytes}\n".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_SAMPLE_BYTES))
                stream.seek(max(0, num_bytes - _SAMPLE_BYTES))
                digest.update(stream.read(_SAMPLE_BYTES))
    except (OSError, ValueError):
        return ""
    return digest.hexdigest() if files else ""
