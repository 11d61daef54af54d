"""What a run does around its operations: the optimizer in the backward pass, activations that leave the GPU."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.optimizer import step_scratch_of
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.workload import Loss, Workload


def no_scratch(_num_bytes: int) -> int:
    """Say that what is done with a gradient takes no memory, as adding it to another one does not."""
    return 0


def setup_of(workload: Workload, *, adds_up: bool = False) -> Callable[[Autograd], None]:
    """Return a function that prepares a reader of a workload's stream.

    With `adds_up` the step finds the gradients of batches before it: its own are added to them and given up, each as
    soon as it is complete (`accumulate_grad.h`).
    """
    step_scratch = no_scratch if adds_up else step_scratch_of(workload, plan_for(workload).trainable)

    def prepare(reader: Autograd) -> None:
        reader.step_scratch = step_scratch
        reader.holds_graph = workload.holds_outputs
        if workload.offloads_activations:
            reader.offload_activations(skips_head=workload.loss is Loss.FULL)

    return prepare
