"""Turns what stops a run into one message for the user, with the exit code that belongs to it."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import FinalFailure, OutOfMemory, OutputFailure, OutputRefused, RunFailure, in_words
from kaitoc.runtime.out_of_memory import describe_out_of_memory, is_out_of_memory

BatchShape = tuple[int, int]
DEBUG = "KAITOC_DEBUG"
_FINAL = (ArithmeticError, AttributeError, ImportError, LookupError, NotImplementedError, TypeError, ValueError)
"""What a library raises for arguments that it does not take; a lost peer or device is a RuntimeError or an OSError."""
_FINAL_ERRNOS = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS})
_OF_THE_SYSTEM = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust tell an error of the system: tokenizers by a plain exception, when it saves."""

_OF_A_WRITER = re.compile(r"inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed|iostream error")
"""How PyTorch's writer, from which the system's answer is lost, tells of a disk that is full."""


@contextmanager
def explained(plan: Plan) -> Iterator[None]:
    """Let only `RunFailure` out: memory, the disk, or what a library refuses, in its own words."""
    try:
        yield
    except RunFailure:
        raise
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        raise _failure(plan, error) from error


@contextmanager
def out_of_memory_told(
    plan: Plan, batch_shape: Callable[[], BatchShape], predict: Callable[[BatchShape], Footprint | None]
) -> Iterator[None]:
    """Tell memory that runs out during training with the batch and with what the memory engine predicts for it."""
    try:
        yield
    except Exception as error:
        shape = batch_shape()
        if not is_out_of_memory(error) or shape == (0, 0):
            raise
        raise OutOfMemory(describe_out_of_memory(plan, predict(shape), shape)) from error


def _failure(plan: Plan, error: Exception) -> RunFailure:
    if is_out_of_memory(error):
        return OutOfMemory(describe_out_of_memory(plan, None, None))
    if isinstance(error, SafetensorError):
        return OutputFailure(f"{plan.output.path}: cannot be written: {in_words(error)}")
    if isinstance(error, OSError):
        failed = OutputRefused if error.errno in _FINAL_ERRNOS else OutputFailure
        return failed(f"{error.filename or plan.output.path}: {error.strerror or in_words(error)}")
    number = _OF_THE_SYSTEM.search(str(error))
    if number is not None:
        return _failure(plan, OSError(int(number[1]), os.strerror(int(number[1]))))
    if _OF_A_WRITER.search(str(error)):
        return OutputFailure(f"{plan.output.path}: cannot be written: {_room_in(plan.output.path)}")
    kind = type(error).__name__
    failure = FinalFailure if isinstance(error, _FINAL) else RunFailure
    return failure(f"the run cannot go on: {in_words(error)} ({kind}; {DEBUG}=1 shows where)")


def _room_in(folder: str) -> str:
    try:
        return f"PyTorch's writer failed with {shutil.disk_usage(folder).free // MIB:,} MiB free"
    except OSError as error:
        return error.strerror or str(error)
