"""Write each model's number of parameters into `catalog/models.json`, counted from its `config`.

Run as `python -m kaitoc.schemas.generate.parameter_counts` after adding a model; tests hold the counts to the shapes,
and to transformers' own classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.catalog.parameter_count import count_parameters
from kaitoc.schemas import ROOT, read_json


def rendered_models() -> str:
    """Return the text that `catalog/models.json` must have; raises `CatalogError` for an entry that lacks something."""
    counts = {model.name: count_parameters(model) for model in all_models()}
    catalog: dict[str, Any] = read_json("catalog/models")
    for entry in catalog["models"]:
        entry["num_parameters"] = counts[entry["name"]]
    return json.dumps(catalog, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    try:
        Path(ROOT, "catalog", "models.json").write_text(rendered_models(), encoding="utf-8")
    except CatalogError as error:
        sys.exit(str(error))
