"""TRL's activation offload on meta tensors (`OffloadActivations` of `models/activation_offloading.py`, 1.10 to 1.16).

The class itself asks for an accelerator, its streams and pinned memory; here what went to the host is its shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.offload import MIN_BYTES, STASH_LENGTH

_Key = tuple[int, int, torch.dtype]


class Away(NamedTuple):
    """A tensor on the host."""

    shape: torch.Size
    dtype: torch.dtype


class OffloadedActivations(saved_tensors_hooks):
    """Hooks that send what autograd saves away; `parameters` stay."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(self._pack, self._unpack)
        self._parameters = {parameter.untyped_storage()._cdata for parameter in parameters}
        self._saved: dict[int, torch.Tensor | Away] = {}
        self._stash: dict[int, torch.Tensor] = {}
        self._keys: dict[_Key, int] = {}
        self._key_of: dict[int, _Key] = {}
        self._returned: dict[int, torch.Tensor] = {}
        self._node: Any = None
        self._number = 0

    def _pack(self, tensor: torch.Tensor) -> int:
        self._number += 1
        number, storage = self._number, tensor.untyped_storage()
        key = storage._cdata, int(tensor.storage_offset()), tensor.dtype
        is_again = key in self._keys
        if is_again:
            self._track(key, number)
        is_small = tensor.numel() * tensor.element_size() < MIN_BYTES
        if is_again or is_small or storage._cdata in self._parameters:
            self._saved[number] = tensor
            return number
        if not tensor.is_contiguous() or tensor.storage_offset():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        for other in [other for other in self._stash if other <= number - STASH_LENGTH]:
            self._forget(other)
        self._saved[number] = Away(tensor.shape, tensor.dtype)
        self._stash[number] = tensor
        self._track(key, number)
        return number

    def _unpack(self, number: int) -> torch.Tensor:
        saved = self._saved.pop(number)
        if isinstance(saved, torch.Tensor):
            self._release_key(number)
            return saved
        node: Any = torch._C._current_autograd_node()
        before = [] if node is self._node else list(self._returned)
        self._node = node
        tensor = self._stash.get(number)
        if tensor is None:
            tensor = torch.empty(saved.shape, dtype=saved.dtype, device="meta")
            self._returned[number] = tensor
        self._release_key(number)
        node.register_hook(lambda *_: self._give_up(before))
        return tensor

    def _give_up(self, returned: list[int]) -> None:
        for number in list(self._stash):
            self._forget(number)
        for number in returned:
            self._returned.pop(number, None)

    def finish(self) -> None:
        """Drop what the end of the backward pass drops."""
        self._returned.clear()
        self._node = None

    def _track(self, key: _Key, number: int) -> None:
        self._keys[key] = number
        self._key_of[number] = key

    def _forget(self, number: int) -> None:
        del self._stash[number]
        self._release_key(number)

    def _release_key(self, number: int) -> None:
        key = self._key_of.pop(number, None)
        if key is not None and self._keys.get(key) == number:
            del self._keys[key]
