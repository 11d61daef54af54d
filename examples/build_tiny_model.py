"""Builds the demo's model: a real Phi-3 of 2 million parameters that has read the pages of kaitoc's rules.

Usage: python examples/build_tiny_model.py FOLDER. Everything is seeded. The short pretraining gives the adapters
something to build on; a random model could only learn how often words occur.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from kaitoc.compiler.check.rule_pages import page_text
from kaitoc.rules import RULES

DATA = Path(__file__).parent / "data" / "kaitoc_rules.jsonl"
SEED = 0
VOCABULARY = 1024
PRETRAINING_STEPS = 150
BLOCK_TOKENS = 128
BATCH_SIZE = 8
SPECIAL_TOKENS = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def texts() -> Iterator[str]:
    """Yield every message of the demo's data, and the rules' pages."""
    yield from (page_text(rule) for rule in RULES)
    for line in DATA.read_text(encoding="utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            yield message["content"]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with Phi-3's markers and chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL_TOKENS[0],
        pad_token=SPECIAL_TOKENS[0],
        chat_template=CHAT_TEMPLATE,
    )


def build_model(num_tokens: int) -> Phi3ForCausalLM:
    """Return a random Phi-3 with fused layers, small enough to train on a CPU."""
    torch.manual_seed(SEED)
    config = Phi3Config(
        vocab_size=num_tokens,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    return Phi3ForCausalLM(config)


def pretrain(model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast, num_steps: int = PRETRAINING_STEPS) -> None:
    """Train all weights on the rules' pages, in blocks of equal length."""
    pages = "\n".join(page_text(rule) for rule in RULES)
    ids = torch.tensor(tokenizer(pages)["input_ids"])
    blocks = ids[: len(ids) // BLOCK_TOKENS * BLOCK_TOKENS].view(-1, BLOCK_TOKENS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(num_steps):
        batch = blocks[torch.randint(len(blocks), (BATCH_SIZE,), generator=generator)]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def save(model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model's folder, weights in bfloat16."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Build the model and write its folder."""
    if len(sys.argv) != 2:
        sys.exit("usage: python build_tiny_model.py FOLDER")
    logging.disable_progress_bar()
    folder = Path(sys.argv[1])
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer))
    pretrain(model, tokenizer)
    save(model, tokenizer, folder)
    sys.stdout.write(f"{folder}: Phi-3 with {model.num_parameters():,} parameters and {len(tokenizer)} tokens\n")


if __name__ == "__main__":
    main()
