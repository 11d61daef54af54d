"""What the models' tokenizers lack (`schemas/catalog/tokenizers.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.schemas import read_json


@lru_cache(maxsize=2)
def _models(kind: str) -> frozenset[str]:
    return frozenset(read_json("catalog/tokenizers")[kind])


def lacks_pad_token(model: Architecture) -> bool:
    """Return whether a model's tokenizer is known to have no padding token of its own."""
    return model.name in _models("without_pad_token")


def lacks_chat_template(model: Architecture) -> bool:
    """Return whether a model's tokenizer is known to have no chat template, as those of base models have none."""
    return model.name in _models("without_chat_template")
