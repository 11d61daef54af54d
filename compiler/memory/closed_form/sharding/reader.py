"""Reads the stream of a step as one of several processes runs it: gathers and reductions around every unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kaitoc.compiler.memory.closed_form.added_gradients import AddedGradients
from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.op import Begin, Body, Part, Repeat, Stream
from kaitoc.compiler.memory.closed_form.peak import Moment, PeakReader
from kaitoc.compiler.memory.closed_form.script import CudaStream, ScriptReader
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective
from kaitoc.compiler.memory.closed_form.sharding.schedule import Gathered, Memory, Schedule
from kaitoc.compiler.memory.closed_form.sharding.units import Unit
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.surroundings import no_scratch
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.result import Phase

_NUM_READ = 4
"""Of more equal layers so many are read: the first two, one more, and the last."""


class ShardedReader(AddedGradients, Memory):
    """What both readers of a sharded step do alike. `units` have the layers in the order of the stream's repeats."""

    def __init__(self, **options: bool) -> None:
        super().__init__(**options)
        self.schedule: Schedule
        self._runs: list[tuple[Unit, int]] = []
        self._kept: list[Buffer] = []

    def follow(self, schedule: Schedule) -> None:
        """Set what is to be done around each unit."""
        self.schedule = schedule
        self._runs = [*reversed(schedule.units.layers)]
        self.step_scratch = no_scratch if schedule.adds_up else None

    def read_sharded(self, stream: Stream, reference: Stream | None) -> None:
        """Read a step forward and backward, and a reference's forward pass between the two."""
        schedule, runs = self.schedule, [*self._runs]
        schedule.start()
        loss = self.forward(stream)
        if reference is not None:
            self._runs = runs
            self._pass()
            schedule.begin_reference()
            self.pass_through(reference)
            schedule.end_reference()
        self._turn()
        self.seed(loss, fixed(FLOAT32_BYTES))
        schedule.turn()
        self.backward()
        schedule.finish()
        for buffer in self._kept:
            self._release(buffer)

    def _pass(self) -> None:
        """Take notice of the beginning of a reference's forward pass."""

    def _turn(self) -> None:
        """Take notice of the end of the forward pass."""

    def take(self, num_bytes: int, kind: Kind, stream: CudaStream = CudaStream.COMPUTE) -> Buffer | None:
        """Allocate a buffer."""
        if not num_bytes:
            return None
        buffer = Buffer(fixed(num_bytes), kind)
        self._allocate(buffer)
        if stream is not CudaStream.COMPUTE:
            self._move_to(stream)
        return buffer

    def _move_to(self, stream: CudaStream) -> None:
        """Take notice that the last buffer is one of another stream."""

    def give_back(self, buffer: Buffer | None) -> None:
        """Free a buffer."""
        if buffer is not None:
            self._release(buffer)

    def note(self, temporary: Size = ZERO) -> None:
        """Note a moment."""
        self._mark(temporary)

    def communicate(self, collective: Collective, num_calls: int = 1, *, is_waited_for: bool = False) -> None:
        """Take no notice: what is sent lies in buffers that the schedule takes."""

    def _leave(self, gradient: Buffer) -> None:
        super()._leave(gradient)
        if not self.schedule.adds_up:
            self.schedule.leave(gradient)

    def _begin(self, instruction: Begin) -> None:
        schedule, part, given = self.schedule, instruction.part, instruction.given
        if part is Part.EMBEDDING:
            if schedule.embedding is not None:
                schedule.before(schedule.embedding)
            return
        if given is None:
            return
        event: Callable[[], None] | None = None
        if part is Part.LAYERS and schedule.embedding is not None:
            embedding = schedule.embedding
            schedule.after(embedding)
            event = lambda: schedule.before_back(embedding)  # noqa: E731  # one of three events
        elif part is Part.TAIL:
            schedule.begin_tail()
            event = schedule.layers_back
        elif part is Part.LOGITS:
            schedule.runs_head = True
            event = schedule.tail_back
        if event is not None and given.needs_grad:
            self._values[given.number] = self._hooked(self._values[given.number], event)

    def _recomputed(self, given: Value, grad: Buffer) -> None:
        if self.schedule.keeps_checkpoints:
            for buffer in (given.buffer, grad):
                buffer.holders += 1
                self._kept.append(buffer)

    def _repeat(self, instruction: Repeat) -> None:
        self._repeat_layers(instruction)
        unit, count = self._runs.pop()
        if count > instruction.count:
            self._runs.append((unit, count - instruction.count))

    def _repeat_layers(self, instruction: Repeat) -> None:
        """Read equal layers."""
        super()._repeat(instruction)

    def _layer(self, body: Body, given: Value) -> Value:
        schedule = self.schedule
        one = schedule.of(self._runs[-1][0])
        schedule.before(one)
        if body.given.needs_grad:
            given = self._hooked(given, lambda: schedule.after_back(one))
        result = self._run(body, given)
        schedule.after(one)
        if body.result.needs_grad:
            result = self._values[body.result.number] = self._hooked(result, lambda: schedule.before_back(one))
        return result

    def _hooked(self, value: Value, event: Callable[[], None]) -> Value:
        """Return an alias of a value whose backward calls `event`; the value itself if it needs no gradient."""
        if not self._recording:
            return value

        def pass_on(grad: Buffer) -> None:
            event()
            self._accumulate(value, grad)

        alias = Value(value.buffer)
        self._record(BackwardStep((value,), alias, replay=pass_on))
        return alias


class ShardedPeakReader(ShardedReader, PeakReader):
    """Finds the moments that can be the peak of a process.

    Of equal layers the first two, one more and the last are read. What that one changes, forward and backward, is what
    every other in the middle changes, buffers that pass from layer to layer included.
    """

    def moments_of(
        self, stream: Stream, reference: Stream | None, held_bytes: int
    ) -> Mapping[Phase, tuple[Moment, ...]]:
        """Return the moments on top of the resident state; `held_bytes` are gradients of earlier batches."""
        self.live[Kind.GRADIENT] += fixed(held_bytes)
        self.read_sharded(stream, reference)
        self.finish()
        return {name: tuple(moments) for name, moments in self.moments.items()}

    def hold(self, one: Gathered) -> None:
        """Count nothing: what earlier batches left is there from the start."""

    def release(self, one: Gathered) -> None:
        """Give up what earlier batches left of a unit."""
        self.live[Kind.GRADIENT] -= fixed(one.held_bytes)

    def _pass(self) -> None:
        self.phase = Phase.FORWARD

    def _turn(self) -> None:
        self.phase = Phase.BACKWARD

    def _repeat_layers(self, instruction: Repeat) -> None:
        count, later = instruction.count, instruction.later
        if count <= _NUM_READ:
            Autograd._repeat(self, instruction)
            return
        value = self._layer(instruction.first, self._values[instruction.given.number])
        value = self._layer(later, value)
        jump = _Jump(self, count - _NUM_READ)
        value = self._hooked(value, jump.back)
        jump.begin()
        value = self._layer(later, value)
        value = self._hooked(value, jump.begin)
        jump.forward()
        self._layer(later, value)


class _Jump:
    """Adds what the layers between two that are read change, each as much as the one in between."""

    def __init__(self, reader: ShardedPeakReader, count: int) -> None:
        self._reader = reader
        self._count = count
        self._before: Sequence[Size] = ()
        self._num_cached = 0

    def begin(self) -> None:
        """Remember what is live before the layer in between."""
        self._before, self._num_cached = tuple(self._reader.live), self._reader.num_cached

    def forward(self) -> None:
        """Add what it changed."""
        live = self._reader.live
        for kind, before in enumerate(self._before):
            live[kind] += (live[kind] - before) * self._count
        self._reader.skip_cache(self._num_cached, self._count)

    back = forward


class ShardedScriptReader(ShardedReader, ScriptReader):
    """Writes down what a process allocates."""

    def _move_to(self, stream: CudaStream) -> None:
        self.events[-1] = self.events[-1]._replace(stream=stream)  # type: ignore[call-arg]  # an allocation

    def hold(self, one: Gathered) -> None:
        """Allocate what earlier batches left of a unit."""
        one.held = self.take(one.held_bytes, Kind.GRADIENT)

    def release(self, one: Gathered) -> None:
        """Free it."""
        self.give_back(one.held)
        one.held = None
