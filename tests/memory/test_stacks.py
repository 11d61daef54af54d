import dataclasses

import pytest

from kaitoc.compiler.memory.stacks import Stack, all_stacks, find_stack
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.schemas import read_json

PROMISED = {
    "transformers-4.45",
    "transformers-4.48",
    "transformers-5",
    "trl-chunked",
    *(f"kaito-v0.{minor}" for minor in range(8, 13)),
}


def test_every_promised_profile_exists() -> None:
    assert {stack.name for stack in all_stacks()} >= PROMISED


def test_the_catalog_has_exactly_the_fields_of_the_dataclass_with_their_types() -> None:
    for entry, stack in zip(read_json("catalog/stacks")["stacks"], all_stacks(), strict=True):
        assert set(entry) == {field.name for field in dataclasses.fields(Stack)}
        for name in ("widens_logits_in_model", "copies_shifted_logits", "fused_experts", "reentrant_checkpointing"):
            assert isinstance(getattr(stack, name), bool)
        assert stack.repeats_keys in ("always", "when masked")


def test_an_unknown_profile_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(WorkloadError, match="did you mean 'transformers-5'"):
        find_stack("transformer-5")


def test_kaito_keeps_adapters_in_the_weights_type_because_of_its_old_peft() -> None:
    assert find_stack("kaito-v0.12").adapters_follow_weights
    assert not find_stack("transformers-5").adapters_follow_weights
