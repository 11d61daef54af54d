"""The data of a plan: read, tokenized, and parted into what is trained on and what is for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.download import local_paths
from kaitoc.runtime.data.examples import Columns, Rows, describe_skipped, read_rows
from kaitoc.runtime.data.preferences import EncodedPairs, encode_pairs, read_pairs
from kaitoc.runtime.data.prepare import Prepared, num_workers, prepare
from kaitoc.runtime.failures import DataFailure, PlanFailure


@dataclass(frozen=True, slots=True)
class PlanRows:
    """The rows that a plan names, pairs for `dpo`; `evaluation` None leaves evaluation to a share of the others."""

    training: Rows[Any]
    evaluation: Rows[Any] | None


@dataclass(frozen=True, slots=True)
class PlanData:
    """The tokenised data of a plan, and what there is to say about it."""

    training: Dataset
    evaluation: Dataset | None
    longest_tokens: int
    summary: str
    num_skipped: int
    num_truncated: int


def read_data(plan: Plan, downloads: Path, *, reuse: bool) -> PlanRows:
    """Read all rows of a plan; raises `DataFailure`, and `PlanFailure` for rows that nothing evaluates."""
    data = plan.data
    if data.eval_paths and plan.training.eval_strategy == "no":
        raise PlanFailure("--eval-data is never read: set `eval_strategy: epoch` (or `steps`) in TrainingArguments")
    columns = Columns(data.text_column, data.prompt_column, data.completion_column, data.messages_column)

    def read(paths: tuple[str, ...]) -> Rows[Any]:
        files = local_paths(paths, downloads, reuse=reuse)
        if plan.dpo is not None:
            return read_pairs(files, data_format=data.format, skip_bad_rows=data.skip_bad_rows)
        return read_rows(files, columns, data_format=data.format, skip_bad_rows=data.skip_bad_rows)

    return PlanRows(read(data.paths), read(data.eval_paths) if data.eval_paths else None)


def tokenize(plan: Plan, rows: PlanRows, tokenizer: Any) -> PlanData:
    """Tokenize the rows of a plan, and part and shuffle them as it says; raises `RunFailure`."""
    data = plan.data
    prepared = _prepared(plan, rows.training, tokenizer)
    longest_tokens = prepared.longest_tokens(data)
    summary = prepared.describe(data.max_length) + describe_skipped(rows.training)
    if rows.evaluation is None:
        training, evaluation = split_examples(plan, prepared.examples)
        num_skipped = len(rows.training.skipped)
    else:
        held_out = _prepared(plan, rows.evaluation, tokenizer)
        training, evaluation = _shuffled(plan, prepared.examples), held_out.examples
        longest_tokens = max(longest_tokens, held_out.longest_tokens(data))
        summary += f"; for evaluation: {held_out.describe(data.max_length)}{describe_skipped(rows.evaluation)}"
        num_skipped = len(rows.training.skipped) + len(rows.evaluation.skipped)
    return PlanData(training, evaluation, longest_tokens, summary, num_skipped, prepared.num_truncated)


def _prepared(plan: Plan, rows: Rows[Any], tokenizer: Any) -> Prepared | EncodedPairs:
    if plan.dpo is not None:
        return encode_pairs(tokenizer, rows.rows, plan.data)
    return prepare(tokenizer, rows.rows, plan.data, num_workers(plan))


def _shuffled(plan: Plan, dataset: Dataset) -> Dataset:
    return dataset.shuffle(seed=plan.data.shuffle_seed) if plan.data.shuffle else dataset


def split_examples(plan: Plan, dataset: Dataset) -> tuple[Dataset, Dataset | None]:
    """Return the training and evaluation sets as the plan splits and shuffles them; raises `DataFailure`."""
    dataset = _shuffled(plan, dataset)
    num_train = round(len(dataset) * plan.data.train_fraction)
    fraction = f"train_test_split {plan.data.train_fraction}"
    if num_train == 0:
        raise DataFailure(f"{fraction} leaves none of {len(dataset)} examples to train on")
    if plan.training.eval_strategy == "no":
        return dataset.select(range(num_train)), None
    if num_train == len(dataset):
        raise DataFailure(f"evaluation is asked for, but {fraction} keeps none of {len(dataset)} examples back for it")
    return dataset.select(range(num_train)), dataset.select(range(num_train, len(dataset)))
