"""Files of rows, and the tokens that a plan makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.examples import Columns, Rows, describe_skipped, read_rows
from kaitoc.runtime.data.pairs import read_pairs
from kaitoc.runtime.data.preferences import encode_pairs
from kaitoc.runtime.data.prepare import prepare
from kaitoc.runtime.data.token_key import token_key
from kaitoc.runtime.data.tokens import Tokens
from kaitoc.runtime.data.workers import num_workers


@dataclass(frozen=True, slots=True)
class Source:
    """Files of rows, or of pairs for `dpo`, with the plan and the tokenizer that make tokens of them."""

    plan: Plan
    files: tuple[str, ...]
    tokenizer: Any

    @property
    def key(self) -> str:
        """Return the cache key of the tokens; raises `DataFailure` for a file that cannot be read."""
        return token_key(self.plan, self.files, self.tokenizer)

    def read(self) -> Rows[Any]:
        """Read all rows of the source into memory; raises `DataFailure`."""
        data = self.plan.data
        if self.plan.dpo is not None:
            return read_pairs(self.files, data_format=data.format, skip_bad_rows=data.skip_bad_rows)
        columns = Columns(data.text_column, data.prompt_column, data.completion_column, data.messages_column)
        return read_rows(self.files, columns, data_format=data.format, skip_bad_rows=data.skip_bad_rows)

    def tokenized(self, rows: Rows[Any]) -> Tokens:
        """Return the tokens of rows; raises `RunFailure` as `prepare` and `encode_pairs` do."""
        data = self.plan.data
        encode = prepare if self.plan.dpo is None else encode_pairs
        found = encode(self.tokenizer, rows.rows, data, num_workers(self.plan))
        summary = found.describe(data.max_length) + describe_skipped(rows)
        return Tokens(found.examples, found.longest_tokens(data), summary, len(rows.skipped), found.num_truncated)
