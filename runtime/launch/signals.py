"""SIGTERM before a run listens for it.

The first process of a container has no default action for signals: it would load or wait on until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

from kaitoc.runtime.failures import EXIT_TERMINATED
from kaitoc.runtime.world import is_launched


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """End this process with 143 on SIGTERM, as long as nothing else listens for it.

    What a launcher started is never the first process, and its default action ends it inside a library too.
    """
    is_free = current_thread() is main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_launched() or not is_free:
        yield
        return
    process = os.getpid()

    def end(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == process:  # workers that were forked to prepare data have the handler too
            _end()
        os._exit(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def ended_at_once_by_sigterm() -> Iterator[None]:
    """End this process with 143 on SIGTERM also while a library waits, where handlers of Python's do not run.

    For processes that do not fork: a child's signals would be taken for this one's.
    """
    with ended_by_sigterm():
        handler = signal.getsignal(signal.SIGTERM)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        previous = signal.set_wakeup_fd(writer)
        Thread(target=_listen, args=(reader, handler), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            os.close(writer)


def _listen(reader: int, handler: object) -> None:
    while number := os.read(reader, 1):
        if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is handler:
            _end()
    os.close(reader)


def _end() -> None:
    sys.stderr.write("kaitoc: stopped by SIGTERM before training began\n")
    sys.stderr.flush()
    os._exit(EXIT_TERMINATED)
