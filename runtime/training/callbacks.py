"""What happens during training beside the steps: metrics on disk, stopping on request."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback
from typing_extensions import override

from kaitoc.runtime.failures import EXIT_INTERRUPTED, EXIT_TERMINATED, FinalFailure
from kaitoc.runtime.observe.device import utilization_percent
from kaitoc.runtime.observe.ranks import largest, mean, of_all_ranks, total
from kaitoc.runtime.world import is_main_process

_STATM = Path("/proc/self/statm")
_MAX_EXPONENT = 700.0


@dataclass(slots=True)
class History:
    """The logged steps and losses, and how long training took.

    `token_losses` are the losses per token of a mixture of experts, whose `losses` contain its router's too.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    token_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, metrics: Path) -> History:
        """Return the steps that an earlier part of the run logged, none for a run that begins."""
        if not metrics.exists():
            return cls()
        entries = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        logged = [entry for entry in entries if "loss" in entry]
        return cls(
            [entry["step"] for entry in logged],
            [entry["loss"] for entry in logged],
            [entry["token_loss"] for entry in logged if "token_loss" in entry],
        )


class MetricsCallback(TrainerCallback):
    """Writes each logged step as a line of `metrics.jsonl` and keeps the history; stops when the loss is not finite.

    Added to what is logged, for the callbacks that come later too: `tokens_per_second` of all processes, the
    `memory_bytes` of the one with most (reserved by PyTorch on a GPU, resident on a CPU), the mean
    `gpu_utilization_percent`, and `eval_perplexity` after an evaluation; for a mixture of experts also `token_loss` and
    `eval_token_loss`, which leave the router's loss out. `path` None writes nothing.
    """

    def __init__(self, path: Path | None, history: History, num_tokens_seen: Callable[[], int]) -> None:
        self._path = path
        self._history = history
        self._num_tokens_seen = num_tokens_seen
        self._started = 0.0

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
        """Append the numbers of a step; raises `FinalFailure` when the loss is not a number."""
        seconds = time.perf_counter() - self._started
        logs = {} if logs is None else logs
        logs.update(_token_losses(logs, more.get("model")))
        logs.update(self._more(logs, seconds, args))
        numbers = {key: value for key, value in logs.items() if isinstance(value, (int, float))}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, "seconds": round(seconds, 3), **numbers}) + "\n")
        loss = numbers.get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise FinalFailure(f"the loss is {loss} at step {state.global_step}; lower the learning rate, or use bf16")
        self._history.steps.append(state.global_step)
        self._history.losses.append(float(loss))
        if "token_loss" in numbers:
            self._history.token_losses.append(float(numbers["token_loss"]))

    def _more(self, logs: dict[str, Any], seconds: float, args: Any) -> dict[str, float]:
        if "eval_rewards/margins" in logs:
            return {}  # a loss on preferences is none on tokens
        if "eval_loss" in logs:
            return {"eval_perplexity": _perplexity(logs.get("eval_token_loss", logs["eval_loss"]))}
        if "loss" not in logs:
            return {}
        on_gpu = args.device.type == "cuda"  # a run on the CPU may have a GPU beside it
        mine = (self._num_tokens_seen(), _memory_bytes(on_gpu=on_gpu), utilization_percent() if on_gpu else None)
        tokens, memory, utilization = of_all_ranks(mine, args.device)
        numbers = {
            "tokens_per_second": round(total(tokens) / seconds, 1),
            "memory_bytes": largest(memory),
            "gpu_utilization_percent": mean(utilization),
        }
        return {name: number for name, number in numbers.items() if number is not None}

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self._history.seconds = time.perf_counter() - self._started


def _token_losses(logs: dict[str, Any], model: Any) -> dict[str, float]:
    """Return the losses without the auxiliary loss that TRL adds for a mixture's router, none for another model.

    Source: trl/trainer/sft_trainer.py, `compute_loss`, which logs the auxiliary loss before it is weighted.
    """
    pairs = [(prefix, f"{prefix}loss", f"{prefix}aux_loss") for prefix in ("", "eval_")]
    weight = getattr(getattr(model, "config", None), "router_aux_loss_coef", 0.0)
    return {
        f"{prefix}token_loss": logs[loss] - weight * logs[aux]
        for prefix, loss, aux in pairs
        if {loss, aux} <= logs.keys()
    }


def _perplexity(loss: float) -> float:
    """Return e to the mean loss per token."""
    return math.exp(loss) if loss < _MAX_EXPONENT else math.inf


def _memory_bytes(*, on_gpu: bool) -> int:
    if on_gpu:
        return int(torch.cuda.memory_reserved())
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class TerminationCallback(TrainerCallback):
    """Saves a checkpoint after the current step and stops, on SIGTERM, which precedes a pod's end, and on Ctrl-C.

    So it does when a terminal closes, unless `nohup` has the run go on then.
    A second signal after Ctrl-C stops at once; so the launcher, which sends SIGTERM then, is obeyed too.
    """

    def __init__(self) -> None:
        self.requested = False
        self.exit_code = EXIT_TERMINATED
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Listen for the signals."""
        hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
            self._previous[number] = signal.signal(number, self._request) or signal.SIG_DFL

    def _request(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and self.exit_code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        self.requested = True
        if number == signal.SIGINT:
            self.exit_code = EXIT_INTERRUPTED
            if is_main_process():
                sys.stderr.write("kaitoc: saving a checkpoint after this step; Ctrl-C again stops at once\n")

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask the trainer to save and stop once the signal came, in all processes after the same step."""
        if torch.distributed.is_initialized():
            code = torch.tensor(self.exit_code if self.requested else 0, device=args.device)
            torch.distributed.all_reduce(code, torch.distributed.ReduceOp.MAX)
            self.requested, self.exit_code = bool(code), int(code) or self.exit_code
        if self.requested:
            control.should_save = True
            control.should_training_stop = True

    def close(self) -> None:
        """Stop listening, however training ended."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}
