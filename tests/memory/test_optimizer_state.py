"""What optimizers keep per parameter, and which of bitsandbytes' tensors are paged out of the GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kaitoc.compiler.memory.closed_form.optimizer import state_bytes
from kaitoc.compiler.memory.workload import Optimizer

FIRST_PAGED = 100_000
BLOCK = 256


def _blocks(elements: int) -> int:
    return -(-elements // BLOCK)


@pytest.mark.parametrize("elements", [4096, FIRST_PAGED - 1, FIRST_PAGED, 1 << 22])
def test_a_paged_optimizer_keeps_only_the_block_constants_of_large_tensors_on_the_gpu(elements: int) -> None:
    on_gpu = state_bytes(Optimizer.ADAMW_8BIT, ((1, elements, 2),))
    paged = state_bytes(Optimizer.PAGED_ADAMW_8BIT, ((1, elements, 2),))
    assert on_gpu == 2 * elements + 2 * 4 * _blocks(elements)
    assert paged == (on_gpu if elements < FIRST_PAGED else 2 * 4 * _blocks(elements))


@pytest.mark.runtime
@pytest.mark.parametrize("elements", [FIRST_PAGED - 1, FIRST_PAGED])
def test_bitsandbytes_pages_the_tensors_that_are_counted_as_paged(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    optimizer = pytest.importorskip("bitsandbytes.optim.optimizer")
    paged: list[tuple[int, ...]] = []

    def get_paged(*shape: int, **_: object) -> object:
        paged.append(shape)
        return torch.zeros(*shape, device="meta")

    monkeypatch.setattr(functional, "get_paged", get_paged)
    monkeypatch.setattr(functional, "fill", lambda *_, **__: None)
    owner = SimpleNamespace(is_paged=True, page_mng=SimpleNamespace(paged_tensors=[]))
    optimizer.Optimizer8bit.get_state_buffer(owner, torch.nn.Parameter(torch.zeros(elements, device="meta")))
    counted = state_bytes(Optimizer.PAGED_ADAMW_8BIT, ((1, elements, 2),))
    assert bool(paged) is (counted < 2 * elements)
