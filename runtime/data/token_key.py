"""The key under which tokens are cached: a digest of everything that the tokens follow from."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.digest import sha256_of
from kaitoc.runtime.data.discover import data_files, other_splits
from kaitoc.runtime.failures import DataFailure

_CHANGES_NO_TOKEN = frozenset(
    {"paths", "eval_paths", "train_fraction", "shuffle", "shuffle_seed", "pad_to_multiple_of"}
)
"""What a plan says of its data that is done to rows of tokens; all else it says is part of the key."""
_LIBRARIES = ("datasets", "jinja2", "pyarrow", "tokenizers", "transformers", "trl")
_CLOCK = "strftime_now"
"""What templates call for the date, as those of Llama 3 do."""


def token_key(plan: Plan, paths: tuple[str, ...], tokenizer: Any) -> str:
    """Return the key of the tokens of some files; raises `DataFailure` for a file that cannot be read.

    The data go in by content; their names too, since messages about rows hold them.
    """
    digest = hashlib.sha256()
    for part in _parts(plan, paths, tokenizer):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def _parts(plan: Plan, paths: tuple[str, ...], tokenizer: Any) -> Iterator[bytes]:
    about = {
        "data": plan.data.model_dump(mode="json", exclude=set(_CHANGES_NO_TOKEN)),
        "task": "sft" if plan.dpo is None else "dpo",
        "other_splits": other_splits(paths),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "date": time.strftime("%Y-%m-%d") if _CLOCK in str(tokenizer.chat_template) else "",
    }
    yield json.dumps(about, sort_keys=True).encode("utf-8")
    for module in sorted(Path(__file__).parent.glob("*.py")):
        yield module.read_bytes()
    yield from _saved(tokenizer)
    for file in data_files(paths, plan.data.format):
        yield str(file).encode("utf-8", "surrogateescape")
        yield _digest(file)


def _saved(tokenizer: Any) -> Iterator[bytes]:
    """Yield the files that a tokenizer saves: its words, its special tokens, and the template that a plan gave it."""
    with tempfile.TemporaryDirectory(prefix="kaitoc-") as name:
        tokenizer.save_pretrained(name)
        for file in sorted(Path(name).rglob("*")):
            if file.is_file():
                yield file.name.encode("utf-8")
                yield file.read_bytes()


def _digest(file: Path) -> bytes:
    try:
        return sha256_of(file).encode("ascii")
    except OSError as error:
        raise DataFailure(f"{file}: cannot be read: {error.strerror or error}") from error
