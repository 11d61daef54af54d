"""Shows how far a run is: a bar on a terminal, plain lines elsewhere, such as in a pod's log."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from transformers import TrainerCallback
from typing_extensions import override

from kaitoc.compiler.core.units import format_gib


class ProgressCallback(TrainerCallback):
    """Shows steps, loss, tokens per second, memory and the time that is left.

    It reads `tokens_per_second` and `memory_bytes` from what is logged, so it comes after the callback that adds them.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._task: Any = None
        self._numbers = ""
        self._started = 0.0
        self._first_step = 0

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock, and the bar on a terminal."""
        self._started = time.perf_counter()
        self._first_step = state.global_step
        if not self._stream.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
        self._bar = Progress(*columns, console=Console(file=self._stream))
        self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step, numbers="")
        self._bar.start()

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step, numbers=self._numbers)

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Show the numbers of a step, or those of an evaluation."""
        logs = logs or {}
        if "eval_loss" in logs:
            self._say(f"evaluation at step {state.global_step}: {_numbers_of(logs, 'eval_')}")
        if "loss" not in logs:
            return
        self._numbers = _numbers_of(logs, "")
        if self._bar is None:
            left = _clock(self._seconds_left(state))
            self._say(f"step {state.global_step}/{state.max_steps}  {self._numbers}  {left} left")

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
            return
        self._stream.write(line + "\n")
        self._stream.flush()

    def _seconds_left(self, state: Any) -> float:
        num_done = max(1, state.global_step - self._first_step)
        elapsed = time.perf_counter() - self._started
        return float(elapsed / num_done * max(0, state.max_steps - state.global_step))


def _numbers_of(logs: dict[str, Any], prefix: str) -> str:
    """Return the numbers of a step in words; a name that is not logged is left out."""
    words = [f"loss {float(logs[prefix + 'loss']):.3f}"]
    if prefix + "perplexity" in logs:
        words.append(f"perplexity {float(logs[prefix + 'perplexity']):.2f}")
    if prefix + "tokens_per_second" in logs:
        words.append(f"{float(logs[prefix + 'tokens_per_second']):,.0f} tokens/s")
    if logs.get("memory_bytes") and not prefix:
        words.append(format_gib(float(logs["memory_bytes"]), 2))
    if "gpu_utilization_percent" in logs and not prefix:
        words.append(f"GPU {float(logs['gpu_utilization_percent']):.0f}%")
    return "  ".join(words)


def _clock(seconds: float) -> str:
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remaining_seconds:02}" if hours else f"{minutes}:{remaining_seconds:02}"
