"""Time what FSDP1's units cost the host, by themselves.

`python tests/bench/throughput/fsdp1_host.py` prints the microseconds that a decoder layer and an adapter matrix, each a
unit of its own, add to the forward pass and to the backward one with its recomputation, and the milliseconds between
two batches (clipping, optimizer, `zero_grad` and `train`) on one process, with units for layers, and with both:
PyTorch's own code in a group of two processes that talk to nobody, on layers too small to count. CUDA's calls (events,
launches) are not in it. The last line counts the operations of a batch on tensors as long as the batch, for each of the
three: units add none.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

NUM_LAYERS, NUM_STEPS, NUM_WORDS = 16, 20, 7
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
NUM_MATRICES = 2 * len(TARGETS)


@dataclass(frozen=True, slots=True)
class Fastest:
    """The shortest time of each part of many steps."""

    forward: float
    backward: float
    between: float


def model() -> nn.Module:
    """Return a small Llama with adapters, whose layers are computed again in the backward pass."""
    config = LlamaConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=NUM_LAYERS, num_attention_heads=4, vocab_size=64
    )
    base = LlamaForCausalLM(config)
    base.gradient_checkpointing_enable({"use_reentrant": True})
    base.enable_input_require_grads()
    return get_peft_model(base, LoraConfig(r=8, target_modules=TARGETS))


def shared(is_unit: Callable[[nn.Module], bool], *, ignores_adapters: bool) -> nn.Module:
    """Return the model as FSDP1 shares it."""
    whole = model()
    ignored = [module for name, module in whole.named_modules() if name.endswith(("lora_A", "lora_B"))]
    return FullyShardedDataParallel(
        whole,
        auto_wrap_policy=functools.partial(lambda_auto_wrap_policy, lambda_fn=is_unit),
        device_id=torch.device("cpu"),
        use_orig_params=True,
        ignored_modules=ignored if ignores_adapters else None,
    )


def is_layer(module: nn.Module) -> bool:
    """Whether transformers' policy makes a module a unit."""
    return isinstance(module, LlamaDecoderLayer)


def is_layer_or_adapter(module: nn.Module) -> bool:
    """Whether PEFT's `fsdp_auto_wrap_policy` does."""
    weight = getattr(module, "weight", None)
    return is_layer(module) or (weight is not None and weight.requires_grad and not list(module.children()))


def fastest(trained: nn.Module) -> Fastest:
    """Return the shortest forward pass, backward pass and time between two batches."""
    words = torch.ones(1, NUM_WORDS, dtype=torch.long)
    optimizer = torch.optim.AdamW([weight for weight in trained.parameters() if weight.requires_grad], foreach=True)
    times = []
    for _ in range(NUM_STEPS):
        begin = time.thread_time()
        loss = trained(input_ids=words, labels=words).loss
        middle = time.thread_time()
        loss.backward()
        end = time.thread_time()
        clip(trained)
        optimizer.step()
        trained.zero_grad()
        trained.train()
        times.append((middle - begin, end - middle, time.thread_time() - end))
    return Fastest(*map(min, zip(*times, strict=True)))


def clip(trained: nn.Module) -> None:
    """Clip gradients as accelerate does."""
    if isinstance(trained, FullyShardedDataParallel):
        trained.clip_grad_norm_(1.0)
    else:
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)


class ActivationCounter(TorchDispatchMode):
    """Counts operations that return something as long as the batch, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        self.count += not func.is_view and any(NUM_WORDS in one.shape for one in tensors)
        return result


def num_operations(trained: nn.Module) -> int:
    """Return how many operations on activations a batch takes, forward and back."""
    words = torch.ones(1, NUM_WORDS, dtype=torch.long)
    with ActivationCounter() as counter:
        trained(input_ids=words, labels=words).loss.backward()
    return counter.count


def main() -> None:
    """Print the costs."""
    torch.set_num_threads(1)
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    models = (model(), shared(is_layer, ignores_adapters=True), shared(is_layer_or_adapter, ignores_adapters=False))
    alone, layers, adapters = map(fastest, models)
    for name, less, more, num_units in (
        ("layer", alone, layers, NUM_LAYERS),
        ("adapter", layers, adapters, NUM_LAYERS * NUM_MATRICES),
    ):
        forward, backward = more.forward - less.forward, more.backward - less.backward
        print(f"{name}: {1e6 * forward / num_units:.0f} us forward, {1e6 * backward / num_units:.0f} back")
    print("between batches: " + ", ".join(f"{1e3 * one.between:.1f}" for one in (alone, layers, adapters)) + " ms")
    print("operations: " + ", ".join(str(num_operations(one)) for one in models))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
