"""Texts inside a nested argument are converted as the trainer's class converts them."""

from __future__ import annotations

import copy

import pytest

from kaitoc.compiler.kaito.argument_values import with_converted_texts

MAPPINGS = [
    {"use_reentrant": "false"},
    {"use_reentrant": "True", "inner": {"num_steps": "4", "rate": "0.5"}},
    {"a": "1.2.3", "b": "-1", "c": "1e3", "d": "", "e": ".", "f": ".5"},
    {"a": [1, "2"], "b": None, "c": 3, "d": True, "e": "x"},
]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_texts_become_what_the_trainer_makes_of_them(mapping: dict[str, object]) -> None:
    from transformers.training_args import _convert_str_dict

    assert with_converted_texts(mapping) == _convert_str_dict(copy.deepcopy(mapping))
