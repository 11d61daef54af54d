"""Score single operations against measured ones (`data/kernels`): modules of language models, forward and backward.

Each row is composed of the operations that whole models are made of. What a benchmark script holds around them is
added as the script has it: the inputs and weights of all the modules it makes, the gradients of the run before, and
the gradient it sends back. Scripts: `benchmark/scripts/benchmark_*.py` of linkedin/Liger-Kernel at the row's version.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.elementwise import Precision
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer
from kaitoc.compiler.memory.closed_form.head import LossHead
from kaitoc.compiler.memory.closed_form.kernel import Group
from kaitoc.compiler.memory.closed_form.layout import Plan
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.model import DecoderModel
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.peak import PeakReader
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, INT64_BYTES, ZERO, Size, fixed, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor
from kaitoc.compiler.memory.device import CUBLAS_WORKSPACE_BYTES
from kaitoc.compiler.memory.workload import NEWEST_LIGER, Dtype, Loss, Workload

FOLDER = Path(__file__).parent / "data" / "kernels"
MIB = 1 << 20
NUM_HEADS, NUM_KEY_HEADS = 32, 8


@dataclass(frozen=True, slots=True)
class Row:
    """One measured benchmark."""

    kernel: str
    tokens: int
    hidden_size: int
    inner_size: int
    dtype: Dtype
    activation: str
    measured_bytes: float
    gpu: str
    liger_version: str = NEWEST_LIGER

    @property
    def name(self) -> str:
        """Return the row in a few words."""
        sizes = " x ".join(str(size) for size in (self.tokens, self.hidden_size, self.inner_size) if size)
        return f"{sizes} {self.dtype.value}, {self.gpu.removeprefix('NVIDIA ')}"


@dataclass(frozen=True, slots=True)
class KernelError:
    """A prediction's relative error on one row."""

    kernel: str
    share: float
    name: str


class Run(StreamBuilder):
    """One run of a benchmark that ran before: its gradients are added to those it left.

    `retains` is `backward(retain_graph=True)`, which keeps what was saved.
    """

    def __init__(self, *, retains: bool) -> None:
        super().__init__()
        self.ops = Ops(self, Precision(None, FLOAT32_BYTES))
        self._retains = retains
        self._started: list[Tensor] = []

    def leaf(self, elements: Size, num_bytes: int, *, accumulates: bool = True) -> Tensor:
        """Return an input that takes a gradient; `accumulates`: beside that of the run before."""
        if accumulates:
            self.new(elements, num_bytes, False)
        return self.new(elements, num_bytes, True)

    def hold_bytes(self, num_bytes: int) -> None:
        """Keep so much for the whole run."""
        self.new(fixed(num_bytes), 1, False)

    def start(self, output: Tensor) -> None:
        """Give an output a gradient that the caller holds."""
        self._started.append(output)

    def peak_bytes(self, tokens: int) -> int:
        """Go back and return the peak."""
        return _Reader().peak_bytes(self, self._started, tokens, retains=self._retains)


class _Reader(PeakReader):
    """Reads a run and goes back from each output that was started."""

    def peak_bytes(self, run: Run, started: list[Tensor], tokens: int, *, retains: bool) -> int:
        """Return the peak of a run with one sequence of so many tokens."""
        self.forward(run.stream(started[0]))
        for output in started:
            value = self._values[output.number]
            self.seed(value, output.size)
            if value.grad is not None:
                value.grad.holders += 1
        if retains:
            for step in self._steps:
                for buffer in step.saved:
                    buffer.holders += 1
        self.backward()
        return max(moment.total.at(1, tokens) for moments in self.moments.values() for moment in moments)

    def _go_back(self, step: BackwardStep, grad: Buffer) -> None:
        super()._go_back(step, grad)
        self.live[Kind.GRADIENT] = ZERO  # added in place to the gradient that is there (`accumulate_grad.h`)


class _Headless(Ops):
    """Operations of a model whose head is left out."""

    def linear(self, value: Tensor, layer: Linear, group: Group = Group.MLP) -> Tensor:
        """Return the value itself."""
        return self.stream.hold(value)


def kernel_errors() -> list[KernelError]:
    """Return the error of every row.

    The embedding's are those of what a vocabulary adds to the smallest one of its series: twelve GiB of the script's
    earlier runs were still allocated. Left out are tensors below 512 bytes, the allocator's least.
    """
    rows = [row for path in sorted(FOLDER.glob("*.csv")) for row in _rows(path) if row.kernel in KERNELS]
    return [error for row in rows if (error := _error(row, rows)) is not None]


def kernel_table() -> str:
    """Return mean and worst errors by kernel."""
    found: dict[str, list[KernelError]] = defaultdict(list)
    for error in kernel_errors():
        found[error.kernel].append(error)
    lines = ["| kernel, allocated | rows | mean | worst | worst row |", "|---|---|---|---|---|"]
    for kernel, errors in sorted(found.items()):
        worst = max(errors, key=lambda error: abs(error.share))
        mean = sum(abs(error.share) for error in errors) / len(errors)
        share = round(worst.share, 4) + 0.0  # no "-0.00%"
        lines.append(f"| {kernel} | {len(errors)} | {mean:.2%} | {share:+.2%} | {worst.name} |")
    return "\n".join(lines)


def _error(row: Row, rows: list[Row]) -> KernelError | None:
    measured, predicted = row.measured_bytes, float(KERNELS[row.kernel](row))
    if row.kernel == "softmax" and row.hidden_size * row.dtype.num_bytes < 512:
        return None
    if row.kernel == "embedding":
        first = next(one for one in rows if one.kernel == row.kernel and one.hidden_size == row.hidden_size)
        if first is row:
            return None
        measured, predicted = measured - first.measured_bytes, predicted - KERNELS[row.kernel](first)
    return KernelError(row.kernel, predicted / measured - 1.0, row.name)


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [
        Row(
            row["kernel"],
            int(row["tokens"]),
            int(row["hidden_size"] or 0),
            int(row["inner_size"] or 0),
            Dtype(row["dtype"]),
            row["activation"],
            float(row["memory_mib"]) * MIB,
            row["gpu"],
            row["liger_version"],
        )
        for row in found
    ]


def _rms_norm(row: Row) -> int:
    """The script makes two modules; its bfloat16 gradient is cast to the output's float32, and both are held."""
    run, num_bytes = Run(retains=True), row.dtype.num_bytes
    run.hold_bytes(3 * row.hidden_size * FLOAT32_BYTES)
    given = run.leaf(per_token(row.hidden_size), num_bytes)
    output = _llama_norm(run, given)
    if output.num_bytes != num_bytes:
        run.new(given.elements, num_bytes, False)
    run.start(output)
    return run.peak_bytes(row.tokens)


def _add_rms_norm(row: Row) -> int:
    """Two weights of one module, one of each other; both the norm and the sum are outputs."""
    run, elements = Run(retains=False), per_token(row.hidden_size)
    run.hold_bytes(5 * row.hidden_size * FLOAT32_BYTES)
    total = run.ops.add(run.leaf(elements, row.dtype.num_bytes), run.leaf(elements, row.dtype.num_bytes))
    output = _llama_norm(run, total)
    run.start(total)
    run.start(output)
    return run.peak_bytes(row.tokens)


def _llama_norm(run: Run, given: Tensor) -> Tensor:
    return run.ops.rms_norm(
        given, weight_bytes=FLOAT32_BYTES, num_trained=given.elements.per_token, multiplies_in_float32=False
    )


def _layer_norm(row: Row) -> int:
    """The script makes two modules of weight and bias each."""
    run = Run(retains=True)
    run.hold_bytes(3 * 2 * row.hidden_size * FLOAT32_BYTES)
    given = run.leaf(per_token(row.hidden_size), row.dtype.num_bytes)
    run.start(run.ops.layer_norm(given, weight_bytes=FLOAT32_BYTES, trainable=True))
    return run.peak_bytes(row.tokens)


def _rope(row: Row) -> int:
    """Query and key; the gradients are returned, not added to any. Making the tables took one cuBLAS workspace."""
    run, num_bytes = Run(retains=True), row.dtype.num_bytes
    run.hold_bytes(CUBLAS_WORKSPACE_BYTES // 2)
    head_dim = row.hidden_size // NUM_HEADS
    run.new(per_token(2 * head_dim), num_bytes, False)
    run.new(per_token(1), INT64_BYTES, False)
    widths = (row.hidden_size, NUM_KEY_HEADS * head_dim)
    for output in [
        run.ops.rotary(run.leaf(per_token(width), num_bytes, accumulates=False), num_bytes) for width in widths
    ]:
        run.start(output)
    return run.peak_bytes(row.tokens)


def _softmax(row: Row) -> int:
    """Eager attention's softmax over one row."""
    run = Run(retains=True)
    given = run.leaf(fixed(row.hidden_size), row.dtype.num_bytes)
    run.start(run.ops.softmax(given, row.dtype.num_bytes))
    return run.peak_bytes(row.tokens)


def _mlp(row: Row) -> int:
    """transformers' `LlamaMLP`; both threads have run a product."""
    workload, plan = _workload(row)
    run = Run(retains=True)
    run.hold_bytes(CUBLAS_WORKSPACE_BYTES + 2 * 3 * row.hidden_size * row.inner_size * row.dtype.num_bytes)
    decoder = DecoderModel(run, run.ops, plan, workload).decoder
    given = run.leaf(per_token(row.hidden_size), row.dtype.num_bytes)
    run.start(decoder.feed_forward.run(plan.layers[0][0], given))
    return run.peak_bytes(row.tokens)


def _cross_entropy(row: Row) -> int:
    """`torch.nn.CrossEntropyLoss` of logits that are given."""
    workload, plan = _workload(row)
    run = Run(retains=False)
    run.new(per_token(1), INT64_BYTES, False)
    logits = run.leaf(per_token(row.inner_size), row.dtype.num_bytes)
    head = LossHead(run, _Headless(run, run.ops.precision), _with_plain_loss(plan), workload)
    run.start(head.run(run.hold(logits)))
    return run.peak_bytes(row.tokens)


def _linear_cross_entropy(row: Row) -> int:
    """A head and `CrossEntropyLoss` in its type; the script makes a second head. Both threads have run a product."""
    return _head_and_loss(row, Loss.FULL)


def _liger_linear_cross_entropy(row: Row) -> int:
    """Liger Kernel's fused one in the same script."""
    return _head_and_loss(row, Loss.LIGER)


def _head_and_loss(row: Row, loss: Loss) -> int:
    workload, plan = _workload(row)
    workload = replace(workload, loss=loss, liger_version=row.liger_version)
    run = Run(retains=False)
    run.new(per_token(1), INT64_BYTES, False)
    run.hold_bytes(CUBLAS_WORKSPACE_BYTES + 3 * row.hidden_size * row.inner_size * row.dtype.num_bytes)
    given = run.leaf(per_token(row.hidden_size), row.dtype.num_bytes)
    run.start(LossHead(run, run.ops, _with_plain_loss(plan), workload).run(run.hold(given)))
    return run.peak_bytes(row.tokens)


def _embedding(row: Row) -> int:
    """The script makes two modules."""
    workload, plan = _workload(row)
    run = Run(retains=False)
    run.new(per_token(1), INT64_BYTES, False)
    run.hold_bytes(3 * row.hidden_size * row.inner_size * row.dtype.num_bytes)
    run.start(DecoderModel(run, run.ops, plan, workload).embed())
    return run.peak_bytes(row.tokens)


def _workload(row: Row) -> tuple[Workload, Plan]:
    """Return a fully trained Llama of the row's sizes."""
    config = {
        "model_type": "llama",
        "hidden_size": row.hidden_size or NUM_HEADS,
        "intermediate_size": row.inner_size,
        "num_hidden_layers": 1,
        "num_attention_heads": NUM_HEADS,
        "vocab_size": row.inner_size,
        "max_position_embeddings": row.tokens,
        "tie_word_embeddings": False,
        "hidden_act": row.activation or "silu",
    }
    workload = Workload(from_config(row.kernel, config), None, 1, row.tokens, "transformers-5", dtype=row.dtype)
    return workload, plan_for(workload)


def _with_plain_loss(plan: Plan) -> Plan:
    """Return the plan of a model whose loss takes logits as they are, as GPT-2's did."""
    return replace(plan, family=replace(plan.family, own_loss=True), stack=replace(plan.stack, own_losses=True))


KERNELS: dict[str, Callable[[Row], int]] = {
    "cross_entropy": _cross_entropy,
    "embedding": _embedding,
    "fused_add_rms_norm": _add_rms_norm,
    "fused_linear_cross_entropy": _linear_cross_entropy,
    "geglu": _mlp,
    "layer_norm": _layer_norm,
    "liger_linear_cross_entropy": _liger_linear_cross_entropy,
    "rms_norm": _rms_norm,
    "rope": _rope,
    "softmax": _softmax,
    "swiglu": _mlp,
    "tiled_geglu": _mlp,
    "tiled_swiglu": _mlp,
}
