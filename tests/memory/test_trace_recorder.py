"""What the recorder logs, on meta and on real memory."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from kaitoc.compiler.memory.result import Phase  # noqa: E402
from kaitoc.compiler.memory.trace.recorder import AllocationRecorder, Category  # noqa: E402

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_storages_are_logged_once_and_freed_with_their_last_view(device: str) -> None:
    with AllocationRecorder() as recorder:
        tensor = torch.zeros(10, 100, device=device)
        view = tensor.view(1000)
        del tensor
        assert recorder.live_bytes() == 4000
        del view
    assert recorder.live_bytes() == 0
    assert [event.is_free for event in recorder.events] == [False, True]


def test_tensors_made_inside_an_operator_list_are_logged() -> None:
    with AllocationRecorder() as recorder:
        parts = torch._foreach_add([torch.zeros(128), torch.zeros(256)], 1.0)
        assert recorder.live_bytes() == 4 * (128 + 256)
    del parts


def test_scratch_memory_comes_and_goes_beside_the_result() -> None:
    with AllocationRecorder(lambda operator, args, result: 77) as recorder:
        kept = torch.zeros(8)
    assert [event.allocation.num_bytes for event in recorder.events] == [32, 77, 77]
    assert recorder.events[1].allocation.category is Category.WORKSPACE
    del kept


def test_events_carry_phase_and_step() -> None:
    recorder = AllocationRecorder()
    recorder.step = 3
    with recorder, recorder.during(Phase.BACKWARD):
        torch.zeros(8)
    assert {(event.phase, event.step) for event in recorder.events} == {(Phase.BACKWARD, 3)}
    assert recorder.phase is Phase.LOAD


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_gradients_of_one_tensor_are_added_in_place_as_without_a_recorder(device: str) -> None:
    leaf = torch.ones(1000, requires_grad=True, device=device)
    with AllocationRecorder() as recorder:
        recorder.hold([leaf], Category.WEIGHTS)
        total = (leaf * 2.0 + leaf * 3.0).sum()
        before = len(recorder.events)
        torch.autograd.backward(total)
    made = [event for event in recorder.events[before:] if event.allocation.num_bytes == 4000 and not event.is_free]
    assert len(made) == 2
    assert leaf.grad is not None
    assert device == "meta" or leaf.grad.eq(5.0).all()


def test_a_gradient_that_a_hook_keeps_is_not_written_to() -> None:
    leaf = torch.ones(1000, requires_grad=True)
    kept = []
    first = leaf * 2.0
    first.register_hook(kept.append)
    with AllocationRecorder():
        torch.autograd.backward((first + leaf * 3.0).sum())
    assert kept[0].eq(1.0).all()
    assert leaf.grad is not None
    assert leaf.grad.eq(5.0).all()
