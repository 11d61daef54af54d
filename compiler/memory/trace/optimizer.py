"""Optimizers on meta tensors: PyTorch's, transformers' and bitsandbytes' own code wherever it runs there."""

from __future__ import annotations

from typing import Any

import torch

from kaitoc.compiler.memory.closed_form.optimizer import MIN_PAGED_ELEMENTS
from kaitoc.compiler.memory.workload import Optimizer


def make_optimizer(optimizer: Optimizer, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer over the trained parameters."""
    if optimizer is Optimizer.ADAMW:
        return torch.optim.AdamW(parameters, foreach=True)
    if optimizer is Optimizer.ADAMW_FUSED:
        return FusedAdamW(parameters, {})
    if optimizer is Optimizer.SGD:
        return torch.optim.SGD(parameters, lr=1e-3, foreach=True)
    if optimizer is Optimizer.ADAFACTOR:
        return _adafactor(parameters)
    return _adamw_8bit(parameters, is_paged=optimizer is Optimizer.PAGED_ADAMW_8BIT)


class FusedAdamW(torch.optim.Optimizer):
    """AdamW in one kernel: two moments of each parameter and a float32 step counter, nothing while it runs.

    After `torch/optim/adamw.py` and `aten/src/ATen/native/cuda/FusedAdamKernel.cu`, which does not run on meta.
    """

    def step(self, _closure: Any = None) -> None:  # type: ignore[override]  # without closure there is no loss
        """Make the state at the first step."""
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None and parameter not in self.state:
                self.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def _adafactor(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adafactor with the settings of the Trainer (`get_adafactor`)."""
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=1e-3, scale_parameter=False, relative_step=False)


def _adamw_8bit(parameters: list[torch.nn.Parameter], *, is_paged: bool) -> torch.optim.Optimizer:
    """Return bitsandbytes' 8-bit AdamW, whose state is made by its own code; its kernel works in place.

    Paged state lives in managed memory, outside of PyTorch's allocator.
    """
    from bitsandbytes.optim.adamw import AdamW8bit

    class Adam(AdamW8bit):
        def get_state_buffer(self, p: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            if is_paged and p.numel() >= MIN_PAGED_ELEMENTS:
                return torch.empty(0, dtype=dtype)
            return torch.zeros_like(p, dtype=dtype)

        def update_step(self, *args: Any) -> None:
            """Leave parameters as they are: `coptimizer_static_8bit_blockwise` allocates nothing."""

    return Adam(parameters)
