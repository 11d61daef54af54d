"""What is on the GPU of activations that TRL sends to the host (`trl/models/activation_offloading.py`, 1.10 to 1.16).

`OffloadActivations` copies every tensor that autograd saves. Going forward the last ones stay until their copies are
done; a tensor that is saved again before that stays for good. Going back an operation gets its tensors anew, which are
given up when the next one that gets any is done.
"""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer
from kaitoc.compiler.memory.closed_form.size import ZERO, Size

MIN_BYTES = 1024
STASH_LENGTH = 5
"""`min_offload_size` and `max_fwd_stash_size` as TRL's trainers leave them."""


class Offload:
    """The saved tensors of one step, whose buffers a reader allocates and releases.

    `skips_head`: the output layer is called as a module, which saves its tensors where they are. `sent` sums up what
    the host holds once the forward pass has ended.
    """

    def __init__(
        self, allocate: Callable[[Buffer], None], release: Callable[[Buffer], None], *, skips_head: bool
    ) -> None:
        self.skips_head = skips_head
        self.is_active = True
        self.sent = ZERO
        self._allocate = allocate
        self._release = release
        self._num_saved = 0
        self._stash: dict[Buffer, int] = {}
        self._kept: set[Buffer] = set()
        self._away: dict[BackwardStep, list[Buffer]] = {}
        self._returned: list[Buffer] = []

    def skip(self, num_tensors: int) -> None:
        """Count saved tensors that stay where they are: parameters, and those that are empty."""
        self._num_saved += num_tensors

    def pack(self, step: BackwardStep) -> None:
        """Send what an operation saved away, or leave it to the operation where it stays."""
        if not self.is_active:
            return
        staying = []
        for buffer in step.saved:
            self._num_saved += 1
            if buffer in self._stash or buffer in self._kept:
                self._kept.add(buffer)
                staying.append(buffer)
            elif _is_small(buffer.size):
                staying.append(buffer)
            else:
                self._forget(self._num_saved - STASH_LENGTH)
                self._stash[buffer] = self._num_saved
                self._away.setdefault(step, []).append(buffer)
                self.sent += buffer.size
        step.saved = staying

    def unpack(self, step: BackwardStep) -> list[Buffer]:
        """Bring back what an operation saved; return what is given up once it has run."""
        away = self._away.pop(step, [])
        if not away:
            return []
        before, self._returned = self._returned, []
        for buffer in away:
            if buffer in self._stash:
                continue
            again = Buffer(buffer.size, buffer.kind)
            self._allocate(again)
            self._returned.append(again)
        done = [*before, *self._stash]
        self._stash.clear()
        return done

    def finish(self) -> list[Buffer]:
        """Return the buffers that are freed at the end of the backward pass."""
        returned, self._returned = self._returned, []
        return returned

    def _forget(self, number: int) -> None:
        for buffer in [buffer for buffer, saved in self._stash.items() if saved <= number]:
            del self._stash[buffer]
            self._release(buffer)


def _is_small(size: Size) -> bool:
    return size == Size(fixed=size.fixed) and size.fixed < MIN_BYTES
