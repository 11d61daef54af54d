"""Prints the peak resident memory of `kaitoc check` on more and more files, each with the same four findings.

Of every process the kernel's own high-water mark is read while it runs, so processes that end early count too.
`--max-growth` makes the script fail when the largest set takes that much more than the smallest.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench_check import MANIFEST

COUNTS = (1250, 2500, 5000, 10000)
FAULTS = (("torch_dtype:", "torch_dtpe:"), ("lora_alpha:", "lora_alpah:"))
INTERVAL_SECONDS = 0.02


def write_faulty_manifests(folder: Path, count: int) -> None:
    """Write manifests with two unknown keys each; two remarks on the output come on top."""
    folder.mkdir()
    for number in range(count):
        text = MANIFEST.format(number=number)
        for right, wrong in FAULTS:
            text = text.replace(right, wrong)
        (folder / f"m{number:05}.yaml").write_text(text)


def peaks(command: list[str]) -> tuple[float, list[int]]:
    """Return the wall time in seconds and the peak of each process in KiB, the starting one first."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[int, int] = {}
    while process.poll() is None:
        for pid in (process.pid, *_children(process.pid)):
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                found[pid] = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        time.sleep(INTERVAL_SECONDS)
    if process.returncode != 1:
        raise SystemExit(f"{command} exited {process.returncode}")
    return time.perf_counter() - start, list(found.values())


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def main() -> int:
    """Print a row for each format and number of files; return 1 when memory grows more than allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--formats", nargs="+", default=["text"])
    parser.add_argument("--max-growth", type=float, default=None, help="largest ratio of the last peak to the first")
    arguments = parser.parse_args()
    is_flat = True
    print("| format | files | seconds | largest process (MiB) | all processes (MiB) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="kaitoc-bench-") as root:
        for count in arguments.counts:
            write_faulty_manifests(Path(root) / str(count), count)
        for name in arguments.formats:
            largest = []
            for count in arguments.counts:
                folder = str(Path(root) / str(count))
                command = [sys.executable, "-m", "kaitoc.compiler", "check", "--isolated", "--format", name, folder]
                seconds, kib = peaks(command)
                largest.append(max(kib))
                print(
                    f"| {name} | {count} | {seconds:.1f} | {max(kib) / 1024:.1f} | {sum(kib) / 1024:.1f} |", flush=True
                )
            limit = arguments.max_growth
            is_flat &= limit is None or largest[-1] <= limit * largest[0]
    return int(not is_flat)


if __name__ == "__main__":
    sys.exit(main())
