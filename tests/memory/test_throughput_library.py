"""Operation and byte counts held to what the real library dispatches, on tensors without data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.kernel import Group, Unit
from kaitoc.compiler.memory.throughput.work import work_of
from kaitoc.compiler.memory.workload import Attention, Lora, Workload

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.runtime,
    pytest.mark.slow,
    # peft 0.21 asks transformers 5.23 by names that transformers 6 drops
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

BATCH, LENGTH = 2, 128
MODELS = {
    "llama": {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 2},
    "qwen3": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "phi3": {
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "pad_token_id": 0,
    },
}
COMMON = {"vocab_size": 1000, "max_position_embeddings": 512, "tie_word_embeddings": False}
VIEWS = (
    "view", "_unsafe_view", "t", "transpose", "expand", "slice", "unsqueeze", "detach", "alias", "select", "permute",
    "split", "split_with_sizes", "squeeze", "unbind", "as_strided", "empty", "empty_like", "new_empty",
)  # fmt: skip
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


@dataclass
class Counts:
    """Operations of matrix products, bytes that they and all other kernels move."""

    flops: int = 0
    product_bytes: int = 0
    other_bytes: int = 0

    def minus(self, other: Counts) -> Counts:
        """Return the difference, what further layers cost."""
        return Counts(
            self.flops - other.flops, self.product_bytes - other.product_bytes, self.other_bytes - other.other_bytes
        )


def _tensors(value: Any) -> Iterator[Any]:
    for item in torch.utils._pytree.tree_leaves(value):
        if isinstance(item, torch.Tensor):
            yield item


def _counter() -> Any:
    class Counter(torch.utils._python_dispatch.TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.counts = Counts()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            name = func.__name__.split(".")[0]
            inputs = list(_tensors((args, kwargs)))
            moved = sum(min(item.nbytes, item.untyped_storage().nbytes()) for item in (*inputs, *_tensors(output)))
            if name in PRODUCTS:
                left, right = inputs[-2:]
                self.counts.flops += 2 * left.numel() * right.shape[-1]
                self.counts.product_bytes += moved
            elif name not in VIEWS:
                self.counts.other_bytes += moved
            return output

    return Counter()


def _measured(model_type: str, num_layers: int, rank: int, checkpointing: bool) -> Counts:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        model_type, num_hidden_layers=num_layers, **{**COMMON, **MODELS[model_type]}
    )
    config._attn_implementation, config.use_cache = "eager", False
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        if rank:
            peft = pytest.importorskip("peft")
            model = peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules=_targets(model_type)))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    tokens = torch.zeros(BATCH, LENGTH, dtype=torch.long, device="meta")
    mask = torch.zeros(BATCH, 1, LENGTH, LENGTH, dtype=torch.bfloat16, device="meta")
    model.train()
    with _counter() as counter:
        model(input_ids=tokens, labels=tokens, attention_mask=mask).loss.backward()
    return counter.counts


def _targets(model_type: str) -> list[str]:
    return ["qkv_proj", "o_proj"] if model_type == "phi3" else ["q_proj", "k_proj", "v_proj", "o_proj"]


def _counted(model_type: str, num_layers: int, rank: int, checkpointing: bool) -> tuple[Counts, int]:
    """Return the model's counts and, of the other bytes, those that move attention's scores."""
    config = {"model_type": model_type, "num_hidden_layers": num_layers, **COMMON, **MODELS[model_type]}
    workload = Workload(
        from_config(f"{model_type}-{num_layers}", config),
        Lora(rank, targets=tuple(_targets(model_type))) if rank else None,
        1,
        1,
        "transformers-5",
        gradient_checkpointing=checkpointing,
        attention=Attention.EAGER,
    )
    counts, scores = Counts(), 0
    for kernel, number, _ in work_of(workload).kernels:
        moved = number * kernel.moved.at(BATCH, LENGTH)
        if kernel.unit is Unit.NONE:
            counts.other_bytes += moved
            scores += moved if kernel.group is Group.ATTENTION else 0
        else:
            counts.product_bytes += moved
            counts.flops += number * kernel.flops.at(BATCH, LENGTH)
    return counts, scores


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 16])
@pytest.mark.parametrize("model_type", MODELS)
def test_a_layer_computes_and_moves_what_the_library_dispatches(
    model_type: str, rank: int, checkpointing: bool
) -> None:
    """The CPU's softmax widens half inputs with a copy of its own, both ways, which CUDA's does not."""
    real = _measured(model_type, 4, rank, checkpointing).minus(_measured(model_type, 2, rank, checkpointing))
    (four, scores_of_four), (two, scores_of_two) = (_counted(model_type, n, rank, checkpointing) for n in (4, 2))
    ours, scores = four.minus(two), scores_of_four - scores_of_two
    assert ours.flops == real.flops
    assert ours.product_bytes == pytest.approx(real.product_bytes, rel=0.02)
    assert ours.other_bytes <= 1.05 * real.other_bytes
    assert ours.other_bytes + 0.5 * scores >= 0.9 * real.other_bytes
