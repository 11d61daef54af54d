"""From the recorded events of four layers to the script of all of them."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.scratch import LastChunk
from kaitoc.compiler.memory.closed_form.script import (
    STREAM_SHIFT,
    TOUCH,
    Allocated,
    EqualLayers,
    Event,
    Freed,
    LayerRun,
    Script,
    Touched,
)
from kaitoc.compiler.memory.closed_form.size import Size, fixed

_FIRST, _SECOND, _MIDDLE, _LAST = range(4)


class Section(NamedTuple):
    """The events of one recorded layer, forward or backward, of one group."""

    group: int
    is_backward: bool
    layer: int
    start: int
    end: int


class Origin(NamedTuple):
    """Where a block comes from: the section's group and direction, the recorded layer, and which of its blocks."""

    group: int
    is_backward: bool
    layer: int
    place: int


def unroll(
    events: Sequence[Event], groups: Sequence[LayerRun], num_forward: int = 0, kept: Collection[int] = ()
) -> Script | None:
    """Return the script of a whole step, None where the layers in the middle of a group are not alike.

    The first `num_forward` events are the forward pass; the blocks of `kept` are outputs.

    The layer in the middle is written once for every layer it stands for; a block of a neighbour that it refers to is
    that of the layer's own neighbour. So its references must be those of the layer before, seen from there.
    """
    unroller = _Unroller(events, groups)
    return unroller.script(num_forward, kept) if unroller.is_uniform() else None


class _Unroller:
    def __init__(self, events: Sequence[Event], groups: Sequence[LayerRun]) -> None:
        self._events = events
        self._counts = [group.count for group in groups]
        self._sections = sorted(
            (section for index, group in enumerate(groups) for section in _sections(index, group)),
            key=lambda section: section.start,
        )
        self._origins = dict(self._find_origins())
        self._operations: list[int] = []
        self._sizes: dict[Size | LastChunk, int] = {}
        self._num_blocks = 0
        self._single: dict[int, int] = {}
        self._first_blocks: dict[tuple[int, bool, int], int] = {}
        self._equal: dict[bool, list[EqualLayers]] = {False: [], True: []}

    def is_uniform(self) -> bool:
        """Return whether every group's layer in the middle does what the one before does."""
        by_key = {section[:3]: section for section in self._sections}
        for (group, is_backward, layer), section in by_key.items():
            if layer != _MIDDLE:
                continue
            before = by_key.get((group, is_backward, _SECOND))
            if before is None or self._relative(before) != self._relative(section):
                return False
        return True

    def script(self, num_forward: int, kept: Collection[int]) -> Script:
        """Write all events, those of the layers in the middle as often as there are such layers."""
        position, end_of_forward = 0, 0
        for section in (*self._sections, None):
            start = len(self._events) if section is None else section.start
            if position <= num_forward <= start:
                self._write_single(position, num_forward)
                position, end_of_forward = num_forward, len(self._operations)
            self._write_single(position, start)
            if section is not None:
                self._write_layers(section)
                position = section.end
        left = sorted(self._left())
        return Script(
            operations=array("i", self._operations),
            sizes=tuple(self._sizes),
            left=tuple(number for number, _ in left),
            num_forward=end_of_forward,
            gradients=tuple(number for number, event in left if event.size == fixed(event.size[0])),
            outputs=tuple(number for number, event in left if event.number in kept),
            going_forward=tuple(self._equal[False]),
            going_back=tuple(self._equal[True]),
        )

    def _left(self) -> Iterator[tuple[int, Allocated]]:
        """Yield what nothing frees with its event: the recorded blocks, and those of all layers that one stands for."""
        freed = {event.number for event in self._events if isinstance(event, Freed)}
        for event in self._events:
            if not isinstance(event, Allocated) or event.number in freed:
                continue
            yield from ((number, event) for number in self._blocks(event.number))

    def _write_single(self, start: int, end: int) -> None:
        """Write events that stand outside of the groups."""
        for event in self._events[start:end]:
            if isinstance(event, Freed):
                self._operations += [~number for number in self._blocks(event.number)]
                continue
            if isinstance(event, Allocated):
                self._single[event.number] = self._num_blocks
                self._num_blocks += 1
            self._operations.append(self._taken(event))

    def _write_layers(self, section: Section) -> None:
        """Write a section for each layer that it stands for; only the numbers of the freed blocks differ."""
        events = self._events[section.start : section.end]
        template = [0 if isinstance(event, Freed) else self._taken(event) for event in events]
        num_allocated = sum(isinstance(event, Allocated) for event in events)
        own: dict[tuple[bool, int], list[tuple[int, int]]] = {}  # blocks of the group by direction and distance
        for place, event in enumerate(events):
            if not isinstance(event, Freed):
                continue
            origin = self._origins.get(event.number)
            if origin is not None and origin.group == section.group:
                own.setdefault((origin.is_backward, origin.layer - section.layer), []).append((place, origin.place))
            else:
                template[place] = ~(self._single[event.number] if origin is None else self._block(origin))
        layers = self._real_layers(section.group, section.layer)
        if section.layer == _MIDDLE:
            lasting = tuple(_lasting(events))
            equal = EqualLayers(len(self._operations), len(events), len(layers), num_allocated, lasting)
            self._equal[section.is_backward].append(equal)
        for layer in reversed(layers) if section.is_backward else layers:
            self._first_blocks[section.group, section.is_backward, layer] = self._num_blocks
            self._num_blocks += num_allocated
            for (is_backward, distance), freed in own.items():
                first = ~self._first_blocks[section.group, is_backward, layer + distance]
                for place, number in freed:
                    template[place] = first - number
            self._operations += template

    def _taken(self, event: Allocated | Touched) -> int:
        index = self._sizes.setdefault(event.size, len(self._sizes))
        if isinstance(event, Touched):
            return TOUCH + index
        return index | event.stream << STREAM_SHIFT

    def _blocks(self, recorded: int) -> list[int]:
        """Return the numbers of a recorded block, one for each layer that its own stands for."""
        origin = self._origins.get(recorded)
        if origin is None:
            return [self._single[recorded]]
        layers = self._real_layers(origin.group, origin.layer)
        return [self._first_blocks[origin.group, origin.is_backward, layer] + origin.place for layer in layers]

    def _block(self, origin: Origin) -> int:
        """Return the number of a group's block for who stands outside of the group."""
        owner = self._real_layer(origin.group, origin.layer)
        return self._first_blocks[origin.group, origin.is_backward, owner] + origin.place

    def _real_layers(self, group: int, layer: int) -> Sequence[int]:
        """Return the layers, in order, that a recorded one stands for."""
        return range(2, self._counts[group] - 1) if layer == _MIDDLE else (self._real_layer(group, layer),)

    def _real_layer(self, group: int, layer: int) -> int:
        return self._counts[group] - 1 if layer == _LAST else layer

    def _find_origins(self) -> Iterator[tuple[int, Origin]]:
        for section in self._sections:
            allocated = (e for e in self._events[section.start : section.end] if isinstance(e, Allocated))
            for index, event in enumerate(allocated):
                yield event.number, Origin(section.group, section.is_backward, section.layer, index)

    def _relative(self, section: Section) -> list[tuple[object, ...]]:
        """Return a section's events with blocks named as its layer sees them."""
        return [self._seen_from(section, event) for event in self._events[section.start : section.end]]

    def _seen_from(self, section: Section, event: Event) -> tuple[object, ...]:
        if not isinstance(event, Freed):
            return type(event), event.size, event.stream if isinstance(event, Allocated) else None
        origin = self._origins.get(event.number)
        if origin is None or origin.group != section.group:
            return Freed, event.number
        return Freed, origin.is_backward, origin.layer - section.layer, origin.place


def _lasting(events: Sequence[Event]) -> Iterator[tuple[int, int | None]]:
    """Yield the events of a layer that allocate what it does not free, by number, or free what it did not allocate."""
    allocated = {event.number for event in events if isinstance(event, Allocated)}
    brief = {event.number for event in events if isinstance(event, Freed) and event.number in allocated}
    num_blocks = 0
    for place, event in enumerate(events):
        is_allocated = isinstance(event, Allocated)
        if not isinstance(event, Touched) and event.number not in brief:
            yield place, num_blocks if is_allocated else None
        num_blocks += is_allocated


def _sections(index: int, group: LayerRun) -> Iterator[Section]:
    for layer, (start, end) in enumerate(group.forward):
        yield Section(index, False, layer, start, end)
    for layer in (_LAST, _MIDDLE, _SECOND):
        if layer in group.backward and layer - 1 in group.backward:
            yield Section(index, True, layer, group.backward[layer], group.backward[layer - 1])
