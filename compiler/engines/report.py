"""What the log of a run on a cluster tells of it: losses, speed and time.

Kaito's image writes no report of its own. transformers' trainer prints each logged step as a Python dictionary
(`trainer_callback.py`, `PrinterCallback` and `ProgressCallback`), with numbers as such or, from version 5, as text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Sequence

from kaitoc.compiler.core.records import dataclass

_VERSION = 1
_STEP = re.compile(r"step (?P<step>\d+)/\d+  loss (?P<loss>\d+\.\d+)\b")
"""How the bundled runtime tells of a step."""
_MAX_LINE_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """A run that ended well, as its log tells it; None is what the log does not tell."""

    workspace: str
    num_logged_steps: int
    first_loss: float | None
    last_loss: float | None
    eval_loss: float | None
    epochs: float | None
    seconds: float | None
    samples_per_second: float | None

    def to_json(self) -> str:
        """Render the report as indented JSON with its version."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"version": _VERSION, **fields}, indent=2) + "\n"

    def to_text(self) -> str:
        """Return the report in a few aligned lines, without those that the log tells nothing of."""
        lines = [f"{'workspace':<10}{self.workspace}"]
        if self.first_loss is not None and self.last_loss is not None:
            steps = f"over {self.num_logged_steps} logged steps"
            lines.append(f"{'loss':<10}{self.first_loss:.3f} -> {self.last_loss:.3f} {steps}")
        if self.eval_loss is not None:
            lines.append(f"{'eval loss':<10}{self.eval_loss:.3f}")
        if self.seconds is not None:
            speed = f", {self.samples_per_second:.2f} samples/s" if self.samples_per_second is not None else ""
            lines.append(f"{'time':<10}{self.seconds:,.0f} s{speed}")
        if len(lines) == 1:
            lines.append(f"{'log':<10}has no numbers")
        return "\n".join(lines)


def report_of(workspace: str, lines: Sequence[str]) -> ClusterReport:
    """Parse a run's log lines into a report; steps that a resumed run logs again count once."""
    entries: list[dict[str, float]] = []
    for numbers in (numbers_of(part) for line in lines for part in line.split("\r")):
        if "step" in numbers:
            entries = [entry for entry in entries if entry.get("step", 0) < numbers["step"]]
        if numbers:
            entries.append(numbers)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    return ClusterReport(
        workspace=workspace,
        num_logged_steps=len(losses),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        eval_loss=_last(entries, "eval_loss"),
        epochs=_last(entries, "epoch"),
        seconds=_last(entries, "train_runtime"),
        samples_per_second=_last(entries, "train_samples_per_second"),
    )


def numbers_of(line: str) -> dict[str, float]:
    """Return the numbers of a line that ends in a trainer's dictionary or tells of a step, none for any other line."""
    start = line.find("{'")
    if len(line) > _MAX_LINE_LENGTH:
        return {}
    if start < 0:
        step = _STEP.match(line)
        return {"step": float(step["step"]), "loss": float(step["loss"])} if step is not None else {}
    try:
        record = ast.literal_eval(line[start:].strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    numbers = {key: _number(value) for key, value in record.items() if isinstance(key, str)}
    return {key: value for key, value in numbers.items() if value is not None}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _last(entries: Sequence[dict[str, float]], name: str) -> float | None:
    return next((entry[name] for entry in reversed(entries) if name in entry), None)
