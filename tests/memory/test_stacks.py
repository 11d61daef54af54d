import dataclasses

import pytest

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.memory.stacks import Stack, all_stacks, find_stack, version_note
from kaitoc.compiler.memory.workload import Dtype, Loss, Optimizer, WorkloadError
from kaitoc.schemas import read_json

PROMISED = {
    "transformers-4.45",
    "transformers-4.48",
    "transformers-5",
    "trl-chunked",
    *(f"kaito-{release.name}" for release in all_releases()),
}


def test_every_promised_profile_exists() -> None:
    assert {stack.name for stack in all_stacks()} >= PROMISED


def test_the_catalog_has_exactly_the_fields_of_the_dataclass_with_their_types() -> None:
    for entry, stack in zip(read_json("catalog/stacks")["stacks"], all_stacks(), strict=False):
        assert set(entry) == {field.name for field in dataclasses.fields(Stack)}
        for name in ("widens_logits_in_model", "copies_shifted_logits", "fused_experts", "reentrant_checkpointing"):
            assert isinstance(getattr(stack, name), bool)
        assert stack.repeats_keys in ("always", "when masked")


def test_an_unknown_profile_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(WorkloadError, match="did you mean 'transformers-5'"):
        find_stack("transformer-5")


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("transformers-4.38.2", "transformers-4.38"),
        ("transformers-4.44", "transformers-4.45"),
        ("transformers-4.46.0", "transformers-4.48"),
        ("transformers-4.53.3", "transformers-4.49"),
        ("transformers-4.57.1", "transformers-4.54"),
        ("transformers-5.14.1", "transformers-5"),
    ],
)
def test_a_version_of_transformers_names_the_profile_that_covers_it(name: str, profile: str) -> None:
    assert find_stack(name).name == profile


@pytest.mark.parametrize("name", ["transformers-4.20", "transformers-6.0", "transformers-", "transformers-4.x"])
def test_a_version_that_no_profile_covers_is_an_error(name: str) -> None:
    with pytest.raises(WorkloadError, match="unknown software stack"):
        find_stack(name)


def test_kaito_keeps_adapters_in_the_weights_type_because_of_its_old_peft() -> None:
    assert find_stack("kaito-v0.12").adapters_follow_weights
    assert not find_stack("transformers-5").adapters_follow_weights


@pytest.mark.parametrize(
    ("release", "loss", "autocast", "checkpointing", "adapters", "fused_experts"),
    [
        ("v0.8", Loss.FULL, "never", False, Dtype.FLOAT32, False),
        ("v0.9", Loss.FULL, "never", False, Dtype.FLOAT32, False),
        ("v0.10", Loss.FULL, "never", False, Dtype.FLOAT32, False),
        ("v0.11", Loss.FULL, "always", True, Dtype.BFLOAT16, True),
        ("v0.12", Loss.CHUNKED, "always", True, Dtype.BFLOAT16, True),
    ],
)
def test_a_releases_profile_follows_from_its_libraries(
    release: str, loss: Loss, autocast: str, checkpointing: bool, adapters: Dtype, fused_experts: bool
) -> None:
    stack = find_stack(f"kaito-{release}")

    assert (stack.default_loss, stack.default_autocast, stack.default_checkpointing) == (loss, autocast, checkpointing)
    assert (stack.quantized_adapter_dtype, stack.fused_experts) == (adapters, fused_experts)
    assert stack.default_optimizer is Optimizer.ADAMW_FUSED
    assert stack.casts_vocabulary_back is not fused_experts


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("trl-1.6", Loss.FULL),
        ("trl-1.7.0", Loss.CHUNKED),
        ("trl-1.14", Loss.CHUNKED),
        ("trl-1.15", Loss.FUSED),
        ("trl-chunked", Loss.FUSED),
        ("kaito-v0.12", Loss.CHUNKED),
    ],
)
def test_the_version_of_trl_decides_what_its_default_loss_is(name: str, loss: Loss) -> None:
    assert find_stack(name).default_loss is loss


@pytest.mark.parametrize(
    ("name", "newest"),
    [("trl-1.99", "1.16"), ("trl-1.17.1", "1.16"), ("trl-1.16.2", ""), ("trl-1.7", ""), ("transformers-5.99", "5.23"),
     ("transformers-5.23.4", ""), ("transformers-4.45.2", ""), ("trl-chunked", ""), ("kaito-v0.12", "")],
)  # fmt: skip
def test_a_version_newer_than_any_known_is_taken_for_the_newest_and_said_to_be(name: str, newest: str) -> None:
    note = version_note(name)

    assert bool(note) == bool(newest)
    assert f"newer than {newest}, the newest known" in note or not newest


def test_chunks_widen_the_whole_head_up_to_trl_1_12() -> None:
    assert [find_stack(f"trl-1.{minor}").widens_chunked_head for minor in (7, 12, 13, 14)] == [True, True, False, False]
    assert find_stack("kaito-v0.12").widens_chunked_head
    assert not find_stack("trl-chunked").widens_chunked_head
