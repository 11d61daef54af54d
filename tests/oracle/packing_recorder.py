"""Say for each architecture whether a packed document sees the one before it; runs in an environment of its own.

    PYTHON tests/oracle/packing_recorder.py tests/runtime

prints a line for each architecture and kernel of attention. Documents are packed as the environment's TRL packs them:
`packed` by its collator for batches without padding, which all strategies but `wrapped` lead to; `wrapped` by that
strategy and by transformers' collator, which Kaito passes. A kernel that an architecture does not have is recorded too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers import DataCollatorForLanguageModeling as KaitosCollator
from trl.data_utils import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

sys.path.insert(0, sys.argv[1])
from tiny_architectures import ARCHITECTURES, tiny_config

NUM_TOKENS = 512
FIRST, OTHER, SECOND = [7, 8, 9, 10, 11, 12, 13], [101, 102, 103, 104, 105, 106, 107], [20, 21, 22, 23, 24]


def main() -> None:
    """Print what each architecture does."""
    transformers.logging.set_verbosity_error()
    for name, (model_type, _) in ARCHITECTURES.items():
        for attention in ("eager", "sdpa"):
            about = {
                "transformers": transformers.__version__, "trl": trl.__version__, "architecture": name,
                "model_type": model_type, "attention": attention,
            }  # fmt: skip
            torch.manual_seed(0)
            try:
                config = tiny_config(name, NUM_TOKENS)
                model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
            except ValueError as error:
                verdicts = {"refused": " ".join(str(error).split())[:90]}
            else:
                verdicts = _verdicts(model.eval())
            print(json.dumps({**about, **verdicts}), flush=True)


def _verdicts(model: Any) -> dict[str, str]:
    """Return `apart` or `leaks` for both ways, by what another first document changes in the second one's logits."""
    with torch.no_grad():
        undivided = _shift(model, lambda first: _apart([first + SECOND]))
        shifts = {
            "packed": _shift(model, lambda first: _apart([first, SECOND])),
            "wrapped": _shift(model, lambda first: _wrapped([first, SECOND])),
        }
    return {name: "leaks" if shift > 0.1 * undivided else "apart" for name, shift in shifts.items()}


def _shift(model: Any, batch_of: Callable[[list[int]], dict[str, Any]]) -> float:
    one, other = (_logits(model, batch_of(first)) for first in (FIRST, OTHER))
    return float((one - other).abs().max())


def _logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return the logits of the second document's tokens."""
    del batch["labels"]
    logits: torch.Tensor = model(**batch, use_cache=False).logits[0, -len(SECOND) :]
    return logits


def _apart(documents: list[list[int]]) -> dict[str, Any]:
    ids = [token for document in documents for token in document]
    row = {"input_ids": ids, "labels": ids, "seq_lengths": [len(document) for document in documents]}
    return dict(DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([row]))


def _wrapped(documents: list[list[int]]) -> dict[str, Any]:
    num_tokens = sum(map(len, documents))
    (row,) = pack_dataset(Dataset.from_dict({"input_ids": documents}), num_tokens, "wrapped")
    words = Tokenizer(WordLevel({str(number): number for number in range(NUM_TOKENS)}, unk_token="0"))  # noqa: S106
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0")  # noqa: S106
    return dict(KaitosCollator(tokenizer, mlm=False)([row]))


if __name__ == "__main__":
    main()
