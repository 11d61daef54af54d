"""Reads a stream for its peak: the moments of a step that can be the one in which most memory is live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.late_recompute import LateRecompute
from kaitoc.compiler.memory.closed_form.op import Accumulate, DropCache, Enter, Keep, Relabel, Repeat, Stream
from kaitoc.compiler.memory.closed_form.scratch import Piece, maxima
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.result import Categories, Phase

_NUM_RUN_ALONE = 3
"""Up to so many equal layers all are read; of more, the first and the last."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Sizes live at one moment by `Kind`, and their sum."""

    total: Size
    by_kind: tuple[Size, ...]

    def beside(self, sizes: Sequence[Size]) -> Moment:
        """Return the moment with more live beside it."""
        by_kind = tuple(live + more for live, more in zip(self.by_kind, sizes, strict=True))
        return Moment(self.total + sum(sizes, ZERO), by_kind)


def peak_moments(
    stream: Stream, reference: Stream | None = None, setup: Callable[[Autograd], None] | None = None
) -> Mapping[Phase, tuple[Moment, ...]]:
    """Return the moments that can be the peak of a phase, on top of the resident state.

    `setup` tells the reader what the run does beside the step's operations.
    """
    reader = PeakReader()
    if setup is not None:
        setup(reader)
    loss = reader.forward(stream)
    if reference is not None:
        reader.phase = Phase.FORWARD
        reader.pass_through(reference)
    reader.phase = Phase.BACKWARD
    reader.seed(loss, fixed(FLOAT32_BYTES))
    reader.backward()
    reader.finish()
    return {name: tuple(moments) for name, moments in reader.moments.items()}


def saved_sizes(stream: Stream) -> Sequence[Size]:
    """Sum what the forward pass keeps for the backward pass by `Kind`: saved tensors and the step's inputs."""
    reader = PeakReader()
    reader.forward(stream)
    return reader.live


def sent_to_host(stream: Stream, setup: Callable[[Autograd], None]) -> Size:
    """Sum what the forward pass sends to the host's memory, nothing where activations stay on the GPU."""
    reader = PeakReader()
    setup(reader)
    reader.forward(stream)
    return reader.offload.sent if reader.offload is not None else ZERO


class PeakReader(LateRecompute):
    """Counts what is live and keeps the moments that no other covers.

    Of equal layers only the first and the last are read: between the two, forward and backward change what is live by
    the same amount for every layer, so a peak lies in the first or the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Size] = [ZERO] * len(Kind)
        self.skipped_cache: list[Size] = [ZERO] * len(Kind)
        self.phase = Phase.FORWARD
        self.moments: dict[Phase, list[Moment]] = {}

    @property
    def num_cached(self) -> int:
        """The number of tensors in the cache of the model's outputs."""
        return len(self._cached)

    def finish(self) -> None:
        """Note what is live at the end.

        Outputs of the step before, which a loop holds, are there until the loss is; those of this step stay after it.
        """
        self._mark()
        kept = tuple(self.kept)
        if any(size != ZERO for size in kept):
            for phase in (Phase.FORWARD, Phase.LOSS):
                self.moments[phase] = [moment.beside(kept) for moment in self.moments[phase]]
        self.moments[Phase.OPTIMIZER] = [Moment(sum(kept, ZERO), kept)]

    def _allocate(self, buffer: Buffer) -> None:
        self.live[buffer.kind] += buffer.size

    def _free(self, buffer: Buffer) -> None:
        self.live[buffer.kind] -= buffer.size

    def _note(self, live: Sequence[Size]) -> None:
        total = live[0] + live[1] + live[2] + live[3] + live[4]
        kept = self.moments.setdefault(self.phase, [])
        for moment in kept:
            if moment.total.covers(total):
                return
        kept[:] = [moment for moment in kept if not total.covers(moment.total)]
        kept.append(Moment(total, tuple(live)))

    def _mark_scratch(self, temporary: Size, pieces: Sequence[Piece]) -> None:
        """Note each moment at which an operation's tensors can be most; `temporary` has the last of them."""
        if not pieces:
            self._mark(temporary)
            return
        moments = maxima(pieces)
        for moment in moments:
            self._mark(temporary - moments[-1] + moment)

    def _enter(self, instruction: Enter) -> None:
        super()._enter(instruction)
        self.phase = instruction.phase

    def _relabel(self, instruction: Relabel) -> None:
        self._rename(self._values[instruction.tensor.number].buffer, instruction.tensor.storage.kind)

    def _rename(self, buffer: Buffer, kind: Kind) -> None:
        self._free(buffer)
        buffer.kind = kind
        self._allocate(buffer)

    def _keep(self, instruction: Keep) -> None:
        super()._keep(instruction)
        buffer = self._values[instruction.tensor.number].buffer
        self.kept[buffer.kind] += buffer.size

    def _drop_cache(self, instruction: DropCache) -> None:
        super()._drop_cache(instruction)
        self._shift(self.skipped_cache, -1)
        self.skipped_cache = [ZERO] * len(Kind)

    def _repeat(self, instruction: Repeat) -> None:
        count = instruction.count
        if count <= _NUM_RUN_ALONE or self.offload is not None:
            super()._repeat(instruction)
            return
        before, kept_before, num_cached = tuple(self.live), tuple(self.kept), len(self._cached)
        result = self._layer(instruction.first, self._values[instruction.given.number])
        bridge = Value(result.buffer)
        skipped = self._skip(before, count - 2)
        kept = [(now - then) * (count - 2) for now, then in zip(self.kept, kept_before, strict=True)]
        self.kept = [size + more for size, more in zip(self.kept, kept, strict=True)]
        cached = self.skip_cache(num_cached, count - 2)
        skipped = [size - more - other for size, more, other in zip(skipped, kept, cached, strict=True)]
        if instruction.first.result.needs_grad and self._recording:
            self._record_jump(result, bridge, skipped, instruction.gradient_bytes * (count - 2))
        self._layer(instruction.later, bridge)

    def _accumulate_in_place(self, instruction: Accumulate) -> None:
        count = instruction.count
        if count < _NUM_RUN_ALONE or self.offload is not None:
            super()._accumulate_in_place(instruction)
            return
        before, num_steps = tuple(self.live), len(self._steps)
        target = self._values[instruction.target.number]
        first = self._add_in_place(instruction, target, instruction.target.needs_grad)
        skipped = self._skip(before, count - 2)
        gradient_bytes = sum(step.parameter_gradients for step in self._steps[num_steps:])
        passes_on, bridge = instruction.output.needs_grad, first
        if self._recording and passes_on:
            bridge = Value(first.buffer)
            self._record_jump(first, bridge, skipped, gradient_bytes * (count - 2))
        self._values[instruction.output.number] = self._add_in_place(instruction, bridge, passes_on)

    def _skip(self, before: Sequence[Size], count: int) -> list[Size]:
        """Add what `count` more runs leave behind, each as much as the one since `before`; return it by `Kind`."""
        skipped = [(now - then) * count for now, then in zip(self.live, before, strict=True)]
        self._shift(skipped, 1)
        return skipped

    def skip_cache(self, num_before: int, count: int) -> list[Size]:
        """Count what `count` more runs put into the cache, each as much as the one since there were `num_before`."""
        skipped = [ZERO] * len(Kind)
        for buffer in self._cached[num_before:]:
            skipped[buffer.kind] += buffer.size * count
        self.skipped_cache = [size + more for size, more in zip(self.skipped_cache, skipped, strict=True)]
        return skipped

    def _record_jump(self, first: Value, bridge: Value, skipped: Sequence[Size], gradient_bytes: int) -> None:
        """Record that going back takes away what was skipped, and leaves parameter gradients."""

        def jump(grad: Buffer) -> None:
            self._shift(skipped, -1)
            if self.step_scratch is None:
                self._allocate(Buffer(fixed(gradient_bytes), Kind.GRADIENT))
            self._accumulate(first, grad)

        self._record(BackwardStep((first,), bridge, replay=jump))

    def _shift(self, sizes: Sequence[Size], sign: int) -> None:
        for kind, size in enumerate(sizes):
            self.live[kind] += size * sign


def categories_at(base: Categories, moment: Moment, batch: int, tokens: int) -> Categories:
    """List live bytes at a moment beyond those of the whole step."""
    sizes = [size.at(batch, tokens) for size in moment.by_kind]
    return Categories(
        weights=base.weights + sizes[Kind.GATHERED],
        adapters=base.adapters,
        gradients=base.gradients + sizes[Kind.GRADIENT],
        optimizer=base.optimizer,
        activations=sizes[Kind.ACTIVATION],
        logits=sizes[Kind.LOGITS],
        workspace=base.workspace + sizes[Kind.WORKSPACE],
    )
