"""What a plan says about the tokenizer: its chat template, its tokens for ends and padding.

TRL applies `eos_token`, `pad_token` and `chat_template_path` when its trainer is made, which is after the data has been
tokenized here. They are applied before, so that what is saved is what was trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import ModelFailure, in_words

_TEMPLATES = (".jinja", ".jinja2", ".j2")
_TEMPLATE_PATH = "chat_template_path"
APPLIED_TO_TOKENIZER = frozenset({_TEMPLATE_PATH})
"""Training arguments that are done with once the tokenizer is there; TRL would read the file again."""


def apply_stated(tokenizer: Any, plan: Plan) -> None:
    """Give a tokenizer the template and the tokens that a plan states; raises `ModelFailure`.

    A missing padding token is the end-of-sequence token.
    """
    stated = plan.training.extra_training_arguments
    path = stated.get(_TEMPLATE_PATH)
    if path is not None:
        if Path(str(path)).suffix not in _TEMPLATES:
            raise ModelFailure(
                f"{_TEMPLATE_PATH}: `{path}` is not a template: name a file that ends in {', '.join(_TEMPLATES)}; "
                "another model's tokenizer would bring tokens for which the adapter has no embeddings"
            )
        tokenizer.chat_template = _template_text(str(path))
    elif plan.model.chat_template is not None:
        tokenizer.chat_template = _template_text(plan.model.chat_template)
    for name in ("eos_token", "pad_token"):
        token = stated.get(name)
        if token is None:
            continue
        if token not in tokenizer.get_vocab():
            raise ModelFailure(f"{name}: `{token}` is not in the tokenizer's vocabulary; name one of its tokens")
        setattr(tokenizer, name, token)
    if tokenizer.eos_token_id is None:
        raise ModelFailure(f"{plan.model.path}: the tokenizer has no end-of-sequence token; set `eos_token`")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def _template_text(template: str) -> str:
    """Return a chat template that is given as a file's path or as text.

    It becomes part of what is trained and saved, so a manifest cannot name any other file of the machine.
    """
    if "{" in template:
        return template
    if Path(template).suffix not in _TEMPLATES:
        raise ModelFailure(f"{template}: the file of a chat template ends in {', '.join(_TEMPLATES)}")
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelFailure(f"{template}: the chat template cannot be read: {in_words(error)}") from error
