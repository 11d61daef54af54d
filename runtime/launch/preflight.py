"""What must hold before a run trains: the output can be written and holds no input, the memory and the disk suffice."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kaitoc.compiler.core.units import format_gib, gib
from kaitoc.compiler.memory.batches import NUM_BATCHES
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.discover import is_searched
from kaitoc.runtime.data.download import DOWNLOADS
from kaitoc.runtime.failures import OutOfMemory, OutputRefused
from kaitoc.runtime.model.sharding import needed_bytes as needed_bytes_of
from kaitoc.runtime.model.sharding import peaks_at_load
from kaitoc.runtime.notes import note
from kaitoc.runtime.observe.device import free_and_total_bytes
from kaitoc.runtime.observe.prediction import notes_on_batches, replayed_batches
from kaitoc.runtime.output.names import ADAPTER, CHECKPOINTS, IMAGE, MERGED, MODEL

MIN_FREE_DISK_BYTES = 64 << 20


def check_output(folder: Path) -> None:
    """Prove that the output folder can be written, or made, and has room; raises `OutputRefused`.

    It is made only when the run can begin: one that is refused leaves none behind.
    """
    place = _existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".kaitoc-") as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputRefused(f"{folder}: the output folder cannot be written: {reason}") from error
    if free_bytes < MIN_FREE_DISK_BYTES:
        raise OutputRefused(f"{folder}: only {free_bytes >> 20} MiB are free; an adapter needs more")


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)


def require_apart(plan: Plan) -> None:
    """Raise `OutputRefused` where a run would replace its model or data, or a later one would take results for them."""
    output = Path(plan.output.path).resolve()
    if Path(plan.model.path).is_dir() and Path(plan.model.path).resolve() == output:
        raise OutputRefused(f"{plan.output.path}: is the model's folder; choose another --output")
    for name in (*plan.data.paths, *plan.data.eval_paths):
        if is_searched(Path(name).resolve(), output):
            raise OutputRefused(
                f"{plan.output.path}: lies in the data's folder {name}, where a later run would read results as data; "
                "choose another --output"
            )
    result = [MODEL] if plan.lora is None else [ADAPTER]
    written = [output / name for name in (*result, CHECKPOINTS, DOWNLOADS, IMAGE, MERGED)]
    for name in (plan.model.path, *plan.data.paths, *plan.data.eval_paths):
        place = Path(name)
        inside = next((folder for folder in written if place.exists() and _is_within(place.resolve(), folder)), None)
        if inside is not None:
            raise OutputRefused(f"{name}: is inside {inside}, which the run replaces; choose another --output")


def _is_within(place: Path, folder: Path) -> bool:
    return place == folder or folder in place.parents


def check_room(plan: Plan, model: Any) -> None:
    """Compare what a run writes with what is free on the disk; raises `OutputRefused` before the first step."""
    num_bytes = written_bytes(plan, model)
    folder = Path(plan.output.path)
    free_bytes = shutil.disk_usage(_existing(folder)).free
    if num_bytes > free_bytes:
        raise OutputRefused(
            f"{folder}: the run writes {format_gib(num_bytes)} (result, checkpoints); only {format_gib(free_bytes)} "
            "are free there"
        )


def written_bytes(plan: Plan, model: Any) -> int:
    """Return the least that a run writes: its result, and checkpoints with the optimizer's two moments.

    Two checkpoints are there while the newer one is written. A merged model is as large as its base.
    """
    trained: list[torch.Tensor] = [value for value in model.parameters() if value.requires_grad]
    result = sum(value.numel() * value.element_size() for value in trained)
    per_moment = 1 if "8bit" in plan.training.optim else 4
    checkpoint = result + 2 * per_moment * sum(value.numel() for value in trained)
    weights = Path(plan.model.path).glob("*.safetensors") if plan.output.merge else ()
    num_checkpoints = 0 if plan.training.save_strategy == "no" else 2
    return result + num_checkpoints * checkpoint + sum(file.stat().st_size for file in weights)


def check_memory(plan: Plan, device: str) -> None:
    """Compare the plan's footprint with the free memory of the GPU; raises `OutOfMemory` before anything is loaded."""
    needed_bytes = needed_bytes_of(plan)
    if device == "cpu" or needed_bytes is None:
        return
    memory = free_and_total_bytes()
    if memory is None:
        return
    free_bytes, total_bytes = memory
    if needed_bytes > free_bytes:
        what = "loading the model, whole until it is split," if peaks_at_load(plan) else "the run"
        raise OutOfMemory(
            f"{what} needs {format_gib(needed_bytes)}; of the GPU's {format_gib(total_bytes)} "
            f"{gib(free_bytes)} are free{_holders()}"
        )


def note_lengths(plan: Plan, config: Any, rows: Sequence[int]) -> None:
    """Say what the prediction of batches of rows with these tokens leaves out."""
    for words in notes_on_batches(plan, config, rows):
        note(f"memory: {words}")


def check_lengths(plan: Plan, config: Any, rows: Sequence[int], device: str) -> None:
    """Replay batches as the trainer draws them of rows with these tokens; raises `OutOfMemory` where memory runs out.

    Batches of different lengths take more of the GPU than the longest of them.
    """
    memory = free_and_total_bytes() if device != "cpu" and plan.predicted is not None else None
    if memory is None:
        return
    free_bytes, total_bytes = memory
    note_lengths(plan, config, rows)
    replayed = replayed_batches(plan, config, rows, free_bytes)
    if replayed is None or not (replayed.num_retries or not replayed.fits):
        return
    what = f"batches of rows with {min(rows):,} to {max(rows):,} tokens fragment the GPU's memory"
    if replayed.fits:
        note(
            f"memory: {what}: PyTorch frees cached blocks about {replayed.num_retries} times in {NUM_BATCHES} "
            "batches, each of which is slow; `group_by_length: true` or a smaller batch leaves more room"
        )
        return
    raise OutOfMemory(
        f"{what}: of its {format_gib(total_bytes)} {gib(free_bytes)} are free, too little for all batches in "
        f"turn; lower the batch size, or set `group_by_length: true`{_holders()}"
    )


def _holders() -> str:
    """Describe the processes that hold a GPU's memory, as far as `nvidia-smi` lists them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    held = [line for line in listed.splitlines() if line.strip() and not line.startswith(f"{os.getpid()},")]
    return "; held by " + "; ".join(held) if held else ""
