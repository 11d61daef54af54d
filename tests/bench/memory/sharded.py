"""Score the memory of sharded runs: measured ones on two and four GPUs, and PyTorch's own `fully_shard` as an oracle.

`python tests/bench/memory/sharded.py` prints the measured tables, with `--oracle` those of the oracle too: tiny models
in every way that FSDP2 is used, with `--large` an 8B and a 70B model, and with `--random NUMBER` jobs drawn with losses
that never hold all logits.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measured import Measured, read_measured
from narrow_llama import narrow_workload
from random_steps import draw_loss, name_of

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.closed_form.footprint import footprint as derived_footprint
from kaitoc.compiler.memory.closed_form.footprint import phase_peaks, verdict
from kaitoc.compiler.memory.closed_form.sharding.state import shard_state
from kaitoc.compiler.memory.result import Phase, PhasePeak, Verdict
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.workload import Lora, Loss, Quantization, Workload

DATA = Path(__file__).parent / "data" / "sharded"
DEFAULT_MARGIN = 0.05

footprint = cache(derived_footprint)
"""Many runs differ in their libraries' patch releases alone."""


@dataclass(frozen=True, slots=True)
class Score:
    """Relative errors of one quantity."""

    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean of their sizes."""
        return sum(map(abs, self.errors)) / max(1, len(self.errors))

    @property
    def worst(self) -> float:
        """Return the one of the largest size."""
        return max(self.errors, key=abs, default=0.0)

    def __str__(self) -> str:
        """Return a row's cells."""
        return f"{len(self.errors)} | {self.mean:.2%} | {self.worst:+.2%}"


def two_gpus() -> list[Measured]:
    """Return the measured runs on two GPUs."""
    return [row for row in read_measured(DATA) if row.workload.num_gpus == 2]


def allocated_score(rows: list[Measured]) -> Score:
    """Score the allocated peaks."""
    return Score(
        tuple(_peak_bytes(phase_peaks(row.workload, row.gpu)) / (row.allocated_bytes or 1) - 1 for row in rows)
    )


def device_score(rows: list[Measured]) -> tuple[Score, float]:
    """Score the device totals, which are means of all GPUs; return also the share of runs that the interval covers."""
    found = [(_predicted_device(row), row.device_bytes) for row in rows if row.device_bytes]
    covered = sum(predicted.low_bytes <= size <= predicted.high_bytes for predicted, size in found)
    return Score(tuple(predicted.likely_bytes / size - 1 for predicted, size in found)), covered / len(found)


@dataclass(frozen=True, slots=True)
class MeanDevice:
    """What the GPUs of a job hold on average, with its interval, in bytes."""

    low_bytes: float
    likely_bytes: float
    high_bytes: float


def _predicted_device(row: Measured) -> MeanDevice:
    """Return the mean of the process that reads the model and the others, which may keep more of loading it."""
    other = footprint(row.workload, row.gpu)
    first = footprint(
        replace(row.workload, sharding=replace(row.workload.sharding, others_hold_nothing=False)), row.gpu
    )
    num_others = row.workload.num_gpus - 1

    def mean(first_bytes: int, other_bytes: int) -> float:
        return (first_bytes + num_others * other_bytes) / row.workload.num_gpus

    return MeanDevice(
        mean(first.low_bytes, other.low_bytes),
        mean(first.device_bytes, other.device_bytes),
        mean(first.high_bytes, other.high_bytes),
    )


def wrongly_fitting(rows: list[Measured]) -> list[Measured]:
    """Return runs that would be called fitting on a device with no more memory than they allocated."""
    return [
        row
        for row in rows
        if row.allocated_bytes
        and verdict(
            footprint(row.workload, row.gpu), replace(row.gpu, memory_bytes=row.allocated_bytes), DEFAULT_MARGIN
        )
        is Verdict.FITS
    ]


def four_gpus() -> tuple[Score, Score]:
    """Score what is left at the end on four GPUs, and the peaks, from runs on one GPU with the same kernels.

    Fused kernels are not derived; what sharding changes of a step is. With them, quantized runs replicate adapters
    (`ignored_modules` of `fms_acceleration_foak/utils.py`), so that their end is left out.
    """
    rows = read_measured(DATA)
    alone = {_key(row): row for row in rows if row.workload.num_gpus == 1}
    losses, saved = _losses(rows), _saved_bytes(rows)
    ends, peaks = [], []
    for row in rows:
        if row.workload.num_gpus != 4 or not row.end_bytes or not row.allocated_bytes:
            continue
        if row.workload.quantization is Quantization.NONE:
            ends.append(end_bytes(row) / row.end_bytes - 1)
        shared = replace(row.workload, loss=losses[row.workload.architecture.name, row.kernels])
        one = alone.get(_key(row))
        if row.workload.lora is None:
            peak_bytes = _fused_peak(shared, saved[_kernel_key(row)])
        elif one is not None and one.allocated_bytes:
            peak_bytes = one.allocated_bytes + _change(shared)
        else:
            continue
        peaks.append(peak_bytes / row.allocated_bytes - 1)
    return Score(tuple(ends)), Score(tuple(peaks))


def end_bytes(row: Measured) -> int:
    """Return what a process holds when training has ended: FSDP1's flat parameters keep their gradients."""
    state = shard_state(row.workload)
    kept = state.weights_bytes + state.adapter_bytes + state.optimizer_bytes + state.gradient_bytes
    return kept + device.cublas_workspace_bytes(row.gpu)


def _change(shared: Workload) -> int:
    """Return what sharding adds to the highest moment of a step."""
    return _step_peak(shared) - _step_peak(replace(shared, num_gpus=1, sharding=WHOLE_COPIES))


def _fused_peak(shared: Workload, saved_bytes: int) -> int:
    """Return the highest moment of a full fine-tune whose fused kernels save so much before the optimizer's step.

    On one GPU the optimizer makes its peak, so that the run there says nothing of what kernels save.
    """
    peaks = {peak.phase: peak.allocated_bytes for peak in phase_peaks(shared)}
    computed = max(peaks[phase] for phase in (Phase.FORWARD, Phase.LOSS, Phase.BACKWARD))
    return max(computed - saved_bytes, peaks[Phase.OPTIMIZER])


def _saved_bytes(rows: list[Measured]) -> dict[tuple[str, str, int], int]:
    """Return by model, kernels and batch what fused kernels save: read off adapters' runs on one GPU as `_losses`."""
    losses = _losses(rows)
    return {
        _kernel_key(row): _step_peak(replace(row.workload, loss=losses[_kernel_key(row)[:2]])) - row.allocated_bytes
        for row in rows
        if row.workload.num_gpus == 1
        and row.workload.lora is not None
        and row.workload.quantization is Quantization.NONE
        and row.allocated_bytes
    }


def _losses(rows: list[Measured]) -> dict[tuple[str, str], Loss]:
    """Return by model and kernels whether the loss is fused too, so that logits exist in tiles only.

    It is read off runs of adapters on one GPU, whose peak is never the optimizer's: the way that predicts them better.
    """
    alone: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for row in rows:
        if row.workload.num_gpus == 1 and row.workload.lora is not None:
            alone[row.workload.architecture.name, row.kernels].append(row)
    return {
        key: min((Loss.FULL, Loss.FUSED), key=lambda loss, found=found: _distance(found, loss))  # type: ignore[misc]
        for key, found in alone.items()
    }


def _distance(rows: list[Measured], loss: Loss) -> int:
    return sum(abs(_step_peak(replace(row.workload, loss=loss)) - (row.allocated_bytes or 0)) for row in rows)


def _step_peak(asked: Workload) -> int:
    """Return the highest moment of a step, apart from loading and saving."""
    outside = (Phase.LOAD, Phase.SAVE)
    return _peak_bytes(peak for peak in phase_peaks(asked) if peak.phase not in outside)


def _peak_bytes(peaks: Iterable[PhasePeak]) -> int:
    return max(peak.allocated_bytes for peak in peaks)


def _kernel_key(row: Measured) -> tuple[str, str, int]:
    return row.workload.architecture.name, row.kernels, row.workload.batch_size


def _key(row: Measured) -> tuple[Workload, str]:
    return replace(row.workload, num_gpus=1, sharding=WHOLE_COPIES), row.kernels


def oracle_cases() -> Iterator[tuple[str, Workload]]:
    """Yield tiny models in the ways in which FSDP2 is used."""
    methods = {"full": None, "LoRA": Lora(rank=16, targets=("q_proj", "v_proj")), "DoRA": Lora(rank=8, dora=True)}
    for num_gpus, (name, lora), wrap in product((2, 4, 8), methods.items(), Wrap):
        for changes in ({}, {"reshard_after_forward": False}):
            sharding = replace(Sharding(ShardingKind.FSDP2, wrap=wrap), **changes)
            case = narrow_workload(num_gpus, sharding, lora=lora)
            kept = "" if sharding.reshard_after_forward else ", kept gathered"
            yield f"{name} on {num_gpus}, {wrap.value}{kept}", case
            if lora is None or name == "LoRA":
                yield f"{name} on {num_gpus}, {wrap.value}{kept}, accumulating", replace(case, accumulates=True)
    for num_gpus, wrap in product((2, 8), Wrap):
        sharding = Sharding(ShardingKind.FSDP2, wrap=wrap)
        lora = Lora(rank=16)
        quantized = {"quantization": Quantization.NF4, "double_quant": True, "kbit_prep": True}
        yield f"QLoRA on {num_gpus}, {wrap.value}", replace(narrow_workload(num_gpus, sharding, lora=lora), **quantized)
        saved = Lora(rank=16, modules_to_save=("lm_head",))
        yield f"LoRA with a trained head on {num_gpus}, {wrap.value}", narrow_workload(num_gpus, sharding, lora=saved)
    hybrid = Sharding(ShardingKind.FSDP2, shard_group=4)
    yield "full on 8 in groups of 4", narrow_workload(8, hybrid, lora=None)
    yield "full on 6", narrow_workload(6, Sharding(ShardingKind.FSDP2), lora=None)


def large_cases() -> Iterator[tuple[str, Workload]]:
    """Yield an 8B and a 70B model."""
    for name, method in product(("llama-3.1-8b-instruct", "llama-3.3-70b-instruct"), ("full", "LoRA")):
        model = find_model(name)
        assert model is not None
        asked = narrow_workload(8, Sharding(ShardingKind.FSDP2), lora=None if method == "full" else Lora(rank=16))
        yield f"{name} {method} on 8", replace(asked, architecture=model, seq_len_tokens=2048)


def random_cases(number: int, seed: int) -> Iterator[tuple[str, Workload]]:
    """Yield jobs at random, on one GPU and on several."""
    dice = random.Random(seed)
    for _ in range(number):
        asked = draw_loss(dice)
        yield name_of(asked), asked


def oracle_error(asked: Workload) -> float:
    """Return the error of the closed form, of the step alone, against `fully_shard`."""
    from kaitoc.compiler.memory.trace.run import trace  # torch takes seconds

    traced = max(peak.allocated_bytes for peak in trace(asked).phases)
    return _step_peak(asked) / traced - 1


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", action="store_true", help="also run fully_shard on tiny models")
    parser.add_argument("--large", action="store_true", help="also run it on an 8B and a 70B model (minutes)")
    parser.add_argument("--random", type=int, default=0, metavar="NUMBER", help="also so many jobs drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="for --random (default: 1)")
    arguments = parser.parse_args()
    rows = two_gpus()
    by_method: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        is_4bit = row.workload.quantization is not Quantization.NONE
        by_method["full" if row.workload.lora is None else "QLoRA" if is_4bit else "LoRA"].append(row)
    print("| measured | quantity | rows | mean | worst |\n|---|---|---|---|---|")
    for name, found in (*sorted(by_method.items()), ("all", rows)):
        print(f"| two GPUs, {name} | allocated | {allocated_score(found)} |")
    devices, covered = device_score(rows)
    print(f"| two GPUs | device, interval covers {covered:.0%} | {devices} |")
    ends, peaks = four_gpus()
    print(f"| four GPUs | end | {ends} |\n| four GPUs | allocated, from one GPU's | {peaks} |")
    print(f"\nCalled fitting on a device that lacks the memory: {len(wrongly_fitting(rows))}.")
    cases = [*(oracle_cases() if arguments.oracle else ()), *(large_cases() if arguments.large else ())]
    cases += random_cases(arguments.random, arguments.seed)
    errors = []
    for name, asked in cases:
        start = time.process_time()
        errors.append(oracle_error(asked))
        print(f"{name}: {errors[-1]:+.3%} ({time.process_time() - start:.0f} s)", flush=True)
    if errors:
        print(f"\n| fully_shard | allocated | {Score(tuple(errors))} |")
    return 1 if wrongly_fitting(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
