"""TRL's chat templates with a tokenizer that has their tokens, one token a byte besides."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

_MARKERS = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")
_SPECIAL = re.compile(
    r"<\|[^|<>\s']*\|>|<\uff5c[^<>\uff5c\s]*\uff5c>|<[a-z_]+\|>|<\|[a-z_]+>|</?(?:think|s|tool_call)>|<[a-z]+_of_[a-z]+>"
)


@cache
def _folder() -> Path:
    import trl

    return Path(trl.__file__).parent / "chat_templates"


def names() -> list[str]:
    """The templates for which TRL ships one for training."""
    return sorted(path.stem.removesuffix("_training") for path in _folder().glob("*_training.jinja"))


def all_names() -> list[str]:
    """All templates that TRL ships."""
    return sorted(path.stem for path in _folder().glob("*.jinja"))


def source(name: str) -> str:
    """The text of a template."""
    return (_folder() / f"{name}.jinja").read_text(encoding="utf-8")


def without_markers(template: str) -> str:
    """A template that renders the same and does not say what the model generates."""
    return _MARKERS.sub(
        lambda match: f"{{%{match[1]} {'endif' if match[2] else 'if true'} {match[3]}%}}", template
    )  # fmt: skip


@cache
def tokenizer() -> Any:
    """A byte-level tokenizer with the special tokens of all templates."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = {token for path in _folder().glob("*.jinja") for token in _SPECIAL.findall(path.read_text("utf-8"))}
    special -= {"<|", "|>"}
    plain.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<bos>", "<eos>", *sorted(special))]
    )
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, **names)


def with_template(template: str) -> Any:
    """The tokenizer with a template."""
    from copy import copy

    made = copy(tokenizer())
    made.chat_template = template
    return made
