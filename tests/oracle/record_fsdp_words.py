"""Record which words of `fsdp` TrainingArguments takes: run it with the Python of a release's libraries.

Usage: PYTHON tests/oracle/record_fsdp_words.py RELEASE >> tests/oracle/recordings/fsdp_words.jsonl
"""

from __future__ import annotations

import json
import sys

WORDS = (
    "full_shard", "shard_grad_op", "auto_wrap", "full_shard auto_wrap", "no_shard", "no_shard auto_wrap",
    "hybrid_shard", "hybrid_shard auto_wrap", "hybrid_shard_zero2", "hybrid_shard full_shard", "full_shard offload",
    "offload", "offload auto_wrap", "full_shard shard_grad_op", "full_shard shard_grad_op auto_wrap",
    "auto_wrap offload", "shard_grad_op offload", "hybrid_shard offload", "hybrid_shard shard_grad_op",
    "no_shard full_shard", "hybrid_shard hybrid_shard_zero2", "zero3", "sharded",
)  # fmt: skip


def main() -> None:
    from transformers import TrainingArguments, __version__

    for words in WORDS:
        refusal = ""
        try:
            TrainingArguments(output_dir="results", fsdp=words, report_to="none", use_cpu=True, bf16=False)
        except ValueError as error:
            refusal = str(error).partition(",")[0].partition(". ")[0]
        record = {"release": sys.argv[1], "transformers": __version__, "fsdp": words, "refusal": refusal}
        print(json.dumps(record, sort_keys=True))


if __name__ == "__main__":
    main()
