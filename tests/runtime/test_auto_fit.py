"""Runs that do not fit: what is tried next, and that trying ends."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from kaitoc.compiler.plan.memory import architecture_of, with_prediction
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.__main__ import execute
from kaitoc.runtime.failures import EXIT_OUT_OF_MEMORY
from kaitoc.runtime.launch.auto_fit import as_left_off, next_candidate
from kaitoc.runtime.launch.processes import Execution
from kaitoc.runtime.out_of_memory import is_out_of_memory
from kaitoc.runtime.output.checkpoints import write_plan
from kaitoc.runtime.output.names import COMPLETED

pytestmark = pytest.mark.runtime
CPU = Execution("cpu")
MakePlan = Callable[..., Plan]


def candidates(plan: Plan) -> list[Plan]:
    found = []
    while (candidate := next_candidate(plan)) is not None:
        plan = candidate[0]
        found.append(plan)
    return found


def test_checkpointing_comes_first_and_the_optimizer_last(make_plan: MakePlan) -> None:
    found = candidates(make_plan())

    assert found[0].training.gradient_checkpointing
    assert [plan.training.per_device_train_batch_size for plan in found] == [2, 1, 1]
    assert found[-1].training.optim == "paged_adamw_8bit"


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (7, 3), (6, 2), (5, 1)])
def test_every_candidate_keeps_the_effective_batch(make_plan: MakePlan, batch: int, accumulation: int) -> None:
    training = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}

    tried = [plan.training for plan in candidates(make_plan(training=training))]

    assert {one.per_device_train_batch_size * one.gradient_accumulation_steps for one in tried} == {
        batch * accumulation
    }


def test_every_candidate_is_predicted_anew(make_plan: MakePlan) -> None:
    """So that one which does not fit is known before its weights are loaded."""
    plan = make_plan(training={"per_device_train_batch_size": 8})
    assert all(candidate.predicted is None for candidate in candidates(plan))

    predicted = with_prediction(plan, architecture_of(plan), None)
    peaks = [one.predicted.reserved_bytes for one in (predicted, *candidates(predicted)) if one.predicted is not None]

    assert len(peaks) == 1 + len(candidates(plan))
    assert peaks[0] > peaks[1] > min(peaks)


class _SmallDevice:
    """Stands in for a device that holds one sequence: a CPU has no limit of its own to run into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from kaitoc.runtime.training.loop import TuningTrainer

        step = TuningTrainer.training_step

        def limited(trainer: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = step(trainer, model, inputs, *args, **kwargs)
            if inputs["input_ids"].shape[0] > 1:
                raise torch.OutOfMemoryError("too large")
            return loss

        monkeypatch.setattr(TuningTrainer, "training_step", limited)


def test_out_of_memory_is_told_with_what_took_it_and_what_to_run(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _SmallDevice(monkeypatch)

    assert execute(make_plan(provenance={"manifest": "job.yaml"}), CPU) == EXIT_OUT_OF_MEMORY
    message = capsys.readouterr().err
    assert "out of memory on a batch of 2 x" in message
    assert "kaitoc compile job.yaml" in message
    assert "Traceback" not in message


def test_with_auto_fit_the_run_is_tried_again_until_it_fits(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _SmallDevice(monkeypatch)
    plan = make_plan()

    assert execute(plan, CPU, auto_fit=True) == 0
    assert "retrying with batches of 1, accumulated 2 times" in capsys.readouterr().err
    assert (Path(plan.output.path) / COMPLETED).exists()


def test_a_run_that_was_made_to_fit_is_resumed_as_it_was(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _SmallDevice(monkeypatch)
    plan = make_plan(training={"save_strategy": "steps", "save_steps": 2})
    assert execute(plan, CPU, auto_fit=True) == 0
    output = Path(plan.output.path)
    shutil.rmtree(output / "checkpoints" / "checkpoint-4")
    (output / COMPLETED).unlink()
    capsys.readouterr()

    assert execute(plan, replace(CPU, resume=True), auto_fit=True) == 0
    told = capsys.readouterr().err
    assert "retrying" not in told
    assert "step 3/4" in told
    assert "step 2/4" not in told


def test_a_run_with_another_plan_is_not_taken_for_one_that_was_made_to_fit(make_plan: MakePlan) -> None:
    other = make_plan(training={"learning_rate": 1.0})
    Path(other.output.path).mkdir()
    write_plan(other, Path(other.output.path))

    assert as_left_off(make_plan(), "cpu") == make_plan()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cuModuleLoadData failed: CUDA_ERROR_OUT_OF_MEMORY"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("unable to mmap 512 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("NCCL error: unhandled cuda error. Last error: Cuda failure 2 'out of memory'"),
    ],
)
def test_memory_that_runs_out_is_known_in_all_its_spellings(error: BaseException) -> None:
    caused = RuntimeError("training stopped")
    caused.__cause__ = error

    assert is_out_of_memory(error)
    assert is_out_of_memory(caused)


LOCKED_MEMORY = "NCCL error: Call to ibv_reg_mr failed with error Cannot allocate memory"
"""A limit on locked memory (`ulimit -l`), which no smaller batch helps."""


@pytest.mark.parametrize(
    "text", ["CUDA error: device-side assert triggered", "out of range", "NCCL error: remote peer", LOCKED_MEMORY]
)
def test_other_errors_of_a_device_are_not_taken_for_memory(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))


def test_no_library_is_loaded_before_the_run_can_be_ended_by_sigterm() -> None:
    script = (
        "import sys, kaitoc.runtime.__main__; print(*{'torch', 'peft', 'transformers', 'datasets'} & {*sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
