"""The model that `kaitoc estimate` is asked about without a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.served_models import find_served
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.memory.estimate import EstimateError


def require_no_models(paths: Iterable[str]) -> None:
    """Raise `EstimateError` for a model that is named where manifests are."""
    for path in paths:
        if not os.path.exists(path) and (find_model(path) is not None or find_served(path) is not None):
            raise EstimateError(f"{path}: no such file; to estimate the model of that name, write --model {path}")


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
