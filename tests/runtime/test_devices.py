"""The device of a run, on simulated machines: chosen, proven and measured; old drivers, MIG, vGPU, a GPU of many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from simulated_gpu import (
    A100,
    NO_KERNEL,
    NVML_ERRORS,
    NVML_FUNCTIONS,
    OLD,
    OLD_DRIVER,
    T4,
    VGPU,
    Cuda,
    Machine,
    simulate_nvml,
)

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import FinalFailure, OutOfMemory
from kaitoc.runtime.launch import run
from kaitoc.runtime.launch.device import choose_device
from kaitoc.runtime.launch.preflight import check_memory
from kaitoc.runtime.launch.processes import needs_launch
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import _widen_trained
from kaitoc.runtime.model import load
from kaitoc.runtime.observe.device import driver_version, free_and_total_bytes, held_bytes, utilization_percent
from kaitoc.runtime.observe.prediction import predicted_footprint
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.callbacks import History, MetricsCallback
from kaitoc.runtime.world import default_num_processes, hide_other_gpus, is_main_process, require_world

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
LAUNCHED = {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "4"}
VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No launcher, nothing hidden, and the allocator's settings as they were."""
    for name in (*LAUNCHED, "TORCHELASTIC_RUN_ID", VISIBLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    before = torch._C._accelerator_getAllocatorSettings()
    torch._C._accelerator_setAllocatorSettings("expandable_segments:True")
    yield
    torch._C._accelerator_setAllocatorSettings(before)


@pytest.fixture
def _nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `nvidia-smi` that lists a T4."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-5a1b)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_the_gpu_of_a_process_is_the_one_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(replace(A100, num_listed=4, num_given=4), monkeypatch)
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)

    assert choose_device("auto") == "cuda"
    assert cuda.current == 1


@pytest.mark.usefixtures("_nvidia_smi")
def test_a_gpu_that_pytorch_cannot_use_is_not_left_unused_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(OLD, monkeypatch)

    for wanted in ("auto", "cuda"):
        with pytest.raises(FinalFailure, match="--device cpu") as caught:
            choose_device(wanted)
        assert OLD_DRIVER in str(caught.value)
    with pytest.raises(FinalFailure, match="cannot use Tesla T4, which nvidia-smi lists"):
        choose_device("auto")
    assert choose_device("cpu") == "cpu"
    assert default_num_processes("auto") == 1


@pytest.mark.usefixtures("_nvidia_smi")
@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden_on_purpose_are_left_unused(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv(VISIBLE, visible)

    assert choose_device("auto") == "cpu"


def test_a_machine_without_gpu_trains_on_its_cpu_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert choose_device("auto") == "cpu"
    with pytest.raises(FinalFailure, match="finds no CUDA GPU: "):
        choose_device("cuda")


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two GPUs in MIG mode NVML counts two, and CUDA gives one."""
    Cuda(replace(A100, num_listed=2), monkeypatch)
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(FinalFailure, match="process 2 of this machine has no GPU of its own: CUDA gives 1"):
        choose_device("auto")


def test_segments_do_not_grow_where_the_driver_refuses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Cuda(VGPU, monkeypatch)

    assert choose_device("auto") == "cuda"
    assert "the driver refuses expandable segments" in capsys.readouterr().err
    assert torch._C._accelerator_getAllocatorSettings() == "expandable_segments:False"


def test_a_gpu_that_pytorch_has_no_kernels_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(replace(T4, fault=lambda: RuntimeError(NO_KERNEL)), monkeypatch)

    with pytest.raises(FinalFailure, match=r"no kernels for Tesla T4 \(sm_75\), only for sm_80, sm_90"):
        choose_device("auto")


@pytest.mark.parametrize(
    "fault",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: uncorrectable ECC error encountered")],
)
def test_a_gpu_that_fails_otherwise_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    Cuda(replace(A100, fault=lambda: fault), monkeypatch)

    with pytest.raises(type(fault), match=str(fault)):
        choose_device("auto")


@pytest.mark.parametrize(
    ("machine", "is_installed", "chosen", "reason"),
    [
        (A100, True, "flash_attention_2", ""),
        (A100, False, "sdpa", "flash-attn is not installed"),
        (T4, True, "sdpa", "flash attention is for Ampere and later, not Tesla T4"),
    ],
)
def test_flash_attention_is_for_gpus_that_can(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    machine: Machine, is_installed: bool, chosen: str, reason: str,
) -> None:  # fmt: skip
    Cuda(machine, monkeypatch)
    monkeypatch.setattr(load, "is_flash_attn_2_available", lambda: is_installed)

    assert load._attention(make_plan(model={"attention": "flash"}), "cuda") == chosen
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("visible", "num_gpus", "left"),
    [(None, 4, "0"), ("2,3", 2, "2"), ("GPU-5a,GPU-7b", 2, "GPU-5a"), ("3", 1, "3"), (None, 1, None)],
)
def test_a_process_that_trains_alone_sees_one_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, num_gpus: int, left: str | None
) -> None:
    Cuda(replace(A100, num_listed=num_gpus), monkeypatch)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    hide_other_gpus()

    assert os.environ.get(VISIBLE) == left


def test_one_of_several_processes_sees_the_gpus_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(replace(A100, num_listed=4), monkeypatch)
    monkeypatch.setenv("LOCAL_RANK", "1")
    hide_other_gpus()

    assert VISIBLE not in os.environ


POD = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "10.0.0.1"}
"""What Kubeflow's PyTorchJob gives to the only pod of a job, whatever its number of GPUs."""


def test_a_pod_that_has_a_rank_still_starts_a_process_for_each_gpu(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cuda(replace(A100, num_listed=4, num_given=4), monkeypatch)
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    plan = make_plan().model_copy(update={"num_processes": default_num_processes("auto")})

    assert plan.num_processes == 4
    assert needs_launch(plan)
    assert is_main_process()


@pytest.mark.parametrize(
    ("environment", "num_processes", "is_taken"),
    [
        ({}, 1, True),
        ({}, 4, True),
        (POD, 1, True),
        (POD, 4, True),
        ({"RANK": "0", "WORLD_SIZE": "4"}, 4, True),
        ({"RANK": "1", "WORLD_SIZE": "4"}, 4, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, 1, False),
        (LAUNCHED, 4, True),
        (LAUNCHED, 1, False),
        (LAUNCHED, 8, False),
        ({"TORCHELASTIC_RUN_ID": "job", "RANK": "0", "WORLD_SIZE": "4"}, 2, False),
        ({"WORLD_SIZE": "many"}, 1, False),
    ],
)
def test_the_plan_s_world_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], num_processes: int, is_taken: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if is_taken:
        require_world(num_processes)
        return
    with pytest.raises(FinalFailure, match="WORLD_SIZE"):
        require_world(num_processes)


@pytest.mark.parametrize("function", NVML_FUNCTIONS)
def test_no_error_of_nvml_ends_a_run(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    Cuda(A100, monkeypatch)
    questions = (lambda: held_bytes("cuda"), utilization_percent, driver_version)
    simulate_nvml(monkeypatch)
    answers = [1800, 87.0, "550.54.15"]
    assert [question() for question in questions] == answers

    for error in NVML_ERRORS:
        simulate_nvml(monkeypatch, failing=function, error=error)
        given = [question() for question in questions]
        assert None in given
        assert all(answer in (None, expected) for answer, expected in zip(given, answers, strict=True))


def test_a_run_on_the_cpu_logs_its_own_memory_and_not_a_gpu_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(A100, monkeypatch)
    simulate_nvml(monkeypatch)
    logs = {"loss": 1.0}
    arguments, state = SimpleNamespace(device=torch.device("cpu")), SimpleNamespace(global_step=1)
    MetricsCallback(None, History(), lambda: 100).on_log(arguments, state, None, logs)

    assert logs["memory_bytes"] > 1 << 20
    assert "gpu_utilization_percent" not in logs


def test_memory_that_cuda_does_not_tell_stops_no_run(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_sharding import FOOTPRINT

    def refuse() -> tuple[int, int]:
        raise RuntimeError(f"CUDA error: {NO_KERNEL}")

    plan = make_plan().model_copy(update={"predicted": FOOTPRINT})
    Cuda(A100, monkeypatch)
    with pytest.raises(OutOfMemory):
        check_memory(plan, "cuda")
    Cuda(replace(A100, memory=refuse), monkeypatch)
    check_memory(plan, "cuda")


def test_memory_is_predicted_for_the_attention_kernels_of_the_gpu_that_is_there(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(model={"dtype": "bfloat16"}, training={"bf16": True})
    config = load.load_config(plan)
    Cuda(A100, monkeypatch)
    newer = predicted_footprint(plan, config)
    Cuda(T4, monkeypatch)
    older = predicted_footprint(plan, config)

    assert newer is not None
    assert older is not None
    assert older.allocated_bytes > newer.allocated_bytes


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux alone tells what its page cache could give")
def test_a_gpu_that_shares_the_machine_s_memory_may_have_what_the_page_cache_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Cuda(replace(A100, name="NVIDIA GB10", is_integrated=True), monkeypatch)
    answer = free_and_total_bytes()

    assert answer is not None
    assert answer[0] > 1 << 20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_scaler_for_float16_is_given_float32_gradients(dtype: torch.dtype) -> None:
    frozen, trained = torch.nn.Linear(2, 2, dtype=dtype).requires_grad_(False), torch.nn.Linear(2, 2, dtype=dtype)
    model = torch.nn.Sequential(frozen, trained)
    _widen_trained(model)
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(trained.parameters())
    scaler.scale(trained(torch.ones(1, 2)).sum()).backward()
    scaler.unscale_(optimizer)

    assert frozen.weight.dtype == dtype
    assert trained.weight.dtype == torch.float32


def test_a_run_in_float16_trains_an_adapter_in_float32(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments_of = run.training_arguments

    def as_on_a_gpu(*arguments: Any) -> Any:
        made = arguments_of(*arguments)
        made.fp16 = True
        return made

    monkeypatch.setattr(run, "training_arguments", as_on_a_gpu)
    plan = make_plan(quantization={"method": "nf4", "compute_dtype": "float32"})
    with quiet_libraries():
        trainer = run.build_trainer(plan, make_ready(plan, RunOptions("cpu", show_progress=False)))

    trained = [value for value in trainer.model.parameters() if value.requires_grad]
    assert {value.dtype for value in trained} == {torch.float32}
