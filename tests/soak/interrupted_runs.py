"""Runs of the runtime in a process of their own, which can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, TrainingPlan

NUM_STEPS = 12
TIMEOUT_SECONDS = 240


def plan(model: Path, data: Path, output: Path, **training: Any) -> Plan:
    """A run of `NUM_STEPS` steps that saves every second one and draws random numbers, for dropout and shuffling."""
    values: dict[str, Any] = {
        "max_steps": NUM_STEPS,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "gradient_checkpointing": False,
        "bf16": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 2,
    }
    return Plan(
        name="interrupted",
        model=ModelPlan(path=str(model), dtype="float32"),
        lora=LoraPlan(r=4, lora_dropout=0.1),
        data=DataPlan(paths=(str(data),), max_length=48),
        training=TrainingPlan(**{**values, **training}),
        output=OutputPlan(path=str(output)),
        provenance=Provenance(kaitoc_version="0"),
    )


def start(plan: Plan, *, resume: bool = False) -> subprocess.Popen[str]:
    """Start a run."""
    file = Path(plan.output.path).with_suffix(".plan.json")
    file.write_text(plan.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "kaitoc.runtime", str(file), "--device", "cpu", *(["--resume"] if resume else [])]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a run; return its exit code and what it wrote to stderr."""
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, errors


def signal_after(process: subprocess.Popen[str], plan: Plan, step: int, number: signal.Signals, delay: float) -> bool:
    """Send a signal some seconds after a step was logged; return whether the run still was there to get it."""
    limit = time.monotonic() + TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        if last_step(plan) >= step:
            time.sleep(delay)
            process.send_signal(number)
            return True
        time.sleep(0.005)
    return False


def entries(plan: Plan) -> list[dict[str, Any]]:
    """What was logged, as far as whole lines go."""
    path = Path(plan.output.path) / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def last_step(plan: Plan) -> int:
    """The last step that was logged."""
    return max((entry["step"] for entry in entries(plan) if "loss" in entry), default=0)


def losses(plan: Plan) -> list[tuple[int, float]]:
    """Steps and their losses."""
    return [(entry["step"], entry["loss"]) for entry in entries(plan) if "loss" in entry]


def adapter_bytes(plan: Plan) -> bytes:
    """The trained weights."""
    return (Path(plan.output.path) / "adapter" / "adapter_model.safetensors").read_bytes()
