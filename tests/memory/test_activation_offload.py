"""Activation offload as TRL does it: the closed form against its hooks on meta tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import sample

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import as_shared, footprint, saved_bytes
from kaitoc.compiler.memory.closed_form.validation import with_activation_offload
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Quantization, Workload, WorkloadError

MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None


WAYS: dict[str, dict[str, object]] = {
    "LoRA": {},
    "full": {"lora": None, "loss": Loss.LIGER},
    "full logits": {"loss": Loss.FULL},
    "QLoRA": {"quantization": Quantization.NF4, "kbit_prep": True, "autocast": Dtype.BFLOAT16},
    "LoRA without checkpoints": {"gradient_checkpointing": False, "loss": Loss.FULL},
    "full without checkpoints": {"gradient_checkpointing": False, "lora": None, "loss": Loss.FULL},
    "autocast without checkpoints": {"gradient_checkpointing": False, "autocast": Dtype.BFLOAT16},
}


def _step(num_layers: int = 9) -> Workload:
    assert MODEL is not None
    config = {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": num_layers}
    return Workload(
        from_config("shallow", config), Lora(), 2, 512, "trl-chunked", gradient_checkpointing=True,
        loss=Loss.FUSED, offloads_activations=True,
    )  # fmt: skip


@pytest.mark.runtime
@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", sample(WAYS, 4))
def test_both_engines_agree(way: str) -> None:
    pytest.importorskip("torch")
    from kaitoc.compiler.memory.trace.run import trace

    step = replace(_step(), **WAYS[way])

    for found, derived in zip(trace(step).phases, footprint(step).phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=0.02), found.phase


def test_checkpoints_on_the_gpu_no_longer_grow_with_the_layers() -> None:
    """A layer more is its weights more: of the checkpoints three are there at once."""
    grown, plain = (
        [_forward_bytes(replace(_step(layers), offloads_activations=offloads)) for layers in (9, 10)]
        for offloads in (True, False)
    )
    hidden_bytes = 2 * 512 * MODEL.hidden_size * 2

    assert plain[1] - plain[0] == hidden_bytes
    assert grown[1] == grown[0]


def _forward_bytes(step: Workload) -> int:
    (forward,) = (phase for phase in footprint(step).phases if phase.phase is Phase.FORWARD)
    return forward.categories.activations


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stack": "transformers-4.45"}, "TRL 1.10 and later"),
        ({"stack": "kaito-v0.11"}, "TRL 1.10 and later"),
        ({"num_gpus": 2, "sharding": Sharding(ShardingKind.FSDP2)}, "whole copies"),
    ],
)
def test_code_that_was_not_read_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(WorkloadError, match=reason):
        footprint(replace(_step(), **changes))


@pytest.mark.parametrize("stack", ["transformers-5", "kaito-v0.11", "trl-1.9"])
def test_where_offload_is_not_predicted_a_manifest_keeps_its_activations(stack: str) -> None:
    step = replace(_step(), stack=stack, loss=Loss.FULL, offloads_activations=False)

    assert with_activation_offload(step) == step
    assert with_activation_offload(replace(step, stack="trl-chunked")).offloads_activations


def test_auto_shards_a_model_whose_activations_go_to_the_host_all_the_same() -> None:
    model, gpu = find_model("llama-3.3-70b-instruct"), find_gpu("A100-80GB")
    assert model is not None
    step = replace(_step(), architecture=model, num_gpus=8, sharding=Sharding(ShardingKind.AUTO))

    shared = as_shared(step, gpu)

    assert shared.sharding.kind is ShardingKind.FSDP2
    assert footprint(step, gpu) == footprint(replace(step, offloads_activations=False), gpu)


def test_the_host_holds_what_left_the_gpus_of_its_processes() -> None:
    """Without checkpoints nearly everything that autograd saves is sent away; kept are tensors saved twice in a row."""
    step = replace(_step(), gradient_checkpointing=False, batch_size=8, offloads_activations=False)
    copied = replace(step, num_gpus=8, sharding=Sharding(num_nodes=2))
    kept, sent = (footprint(replace(copied, offloads_activations=away)) for away in (False, True))
    saved = saved_bytes(step)

    assert kept.host_bytes is not None
    assert sent.host_bytes is not None
    assert kept.host_bytes < 4 * saved
    assert 3.9 * saved < sent.host_bytes <= 4 * saved
