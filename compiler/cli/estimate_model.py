"""The model that `kaitoc estimate` is asked about without a manifest."""

from __future__ import annotations

import json

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.memory.estimate import EstimateError


def named_model(model: str | None, path: str | None) -> tuple[str, dict[str, object] | None]:
    """Return the name of a model, and its config where `--model-config` names a file; raises `EstimateError`."""
    if path is None:
        if model is None:
            raise EstimateError("name a model with --model or --model-config, or pass a manifest")
        return model, None
    try:
        config = json.loads(Source.read(path).text)
    except (ValueError, RecursionError) as error:
        raise EstimateError(f"{path}: not a JSON file: {error}", path=path) from error
    if not isinstance(config, dict):
        raise EstimateError(f"{path}: not a model's config.json", path=path)
    return model or path, config
