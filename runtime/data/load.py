"""The data of a plan: tokens, parted into what is trained on and what is for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.download import local_paths
from kaitoc.runtime.data.made_once import tokens_of
from kaitoc.runtime.data.source import Source
from kaitoc.runtime.failures import DataFailure, PlanFailure


@dataclass(frozen=True, slots=True)
class PlanData:
    """The tokenized data of a plan, and what there is to say about it."""

    training: Dataset
    evaluation: Dataset | None
    longest_tokens: int
    summary: str
    num_skipped: int
    num_truncated: int


def load_data(plan: Plan, downloads: Path, tokenizer: Any, *, reuse: bool, use_cache: bool = True) -> PlanData:
    """Return the data of a plan, which the first process of each node reads and tokenizes for all of them.

    All rows are read before any is tokenized. Raises `RunFailure`: `DataFailure` for rows that are wrong, `PlanFailure`
    for rows that nothing evaluates.
    """
    data = plan.data
    if data.eval_paths and plan.training.eval_strategy == "no":
        raise PlanFailure("--eval-data is never read: set `eval_strategy: epoch` (or `steps`) in TrainingArguments")
    named = [data.paths, data.eval_paths] if data.eval_paths else [data.paths]
    sources = [Source(plan, local_paths(paths, downloads, reuse=reuse), tokenizer) for paths in named]
    training, *held_out = tokens_of(sources, use_cache=use_cache)
    if not held_out:
        train_set, eval_set = split_examples(plan, training.examples)
        return PlanData(
            train_set, eval_set, training.longest_tokens, training.summary, training.num_skipped, training.num_truncated
        )
    (evaluation,) = held_out
    return PlanData(
        _shuffled(plan, training.examples),
        evaluation.examples,
        max(training.longest_tokens, evaluation.longest_tokens),
        f"{training.summary}; for evaluation: {evaluation.summary}",
        training.num_skipped + evaluation.num_skipped,
        training.num_truncated,
    )


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
        raise DataFailure(f"evaluation is on, but {fraction} keeps none of {len(dataset)} examples back for it")
    return dataset.select(range(num_train)), dataset.select(range(num_train, len(dataset)))
