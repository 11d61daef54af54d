"""What must hold before anything large is loaded: the output can be written, the memory is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kaitoc.compiler.plan import Plan
from kaitoc.runtime.failures import OutOfMemory, OutputFailure
from kaitoc.runtime.sharding import needed_bytes as needed_bytes_of

MIN_FREE_DISK_BYTES = 64 << 20
_GIB = 1 << 30


def check_output(folder: Path) -> None:
    """Create the output folder and prove that it can be written and has room; raises `OutputFailure`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".kaitoc-") as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputFailure(f"{folder}: the output folder cannot be written: {reason}") from error
    if free_bytes < MIN_FREE_DISK_BYTES:
        raise OutputFailure(f"{folder}: only {free_bytes >> 20} MiB are free; an adapter needs more")


def check_memory(plan: Plan, device: str) -> None:
    """Compare the plan's footprint with the free memory of the GPU; raises `OutOfMemory` before anything is loaded."""
    needed_bytes = needed_bytes_of(plan)
    if device == "cpu" or needed_bytes is None:
        return
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info()
    if needed_bytes > free_bytes:
        raise OutOfMemory(
            f"the run needs {needed_bytes / _GIB:.1f} GiB; of the GPU's {total_bytes / _GIB:.1f} GiB "
            f"{free_bytes / _GIB:.1f} are free{_holders()}"
        )


def _holders() -> str:
    """Return in words which processes hold a GPU's memory, as far as `nvidia-smi` tells."""
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
