"""Prints the time and the peak resident memory of `kaitoc check` on more and more files.

The files are of one kind: faulty (the same four findings in each), sound (none that is an error), or varied (no two
configurations are equal, of 720 different jobs, with six findings on average). Of every process the kernel's own
high-water mark is read while it runs, so processes that end early count too. `--max-growth` makes the script fail
when the largest set takes that much more than the smallest.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench_check import MANIFEST

COUNTS = (1250, 2500, 5000, 10000)
FAULTS = (("torch_dtype:", "torch_dtpe:"), ("lora_alpha:", "lora_alpah:"))
PRESETS = ("phi-3-mini-128k-instruct", "mistral-7b-instruct", "falcon-7b", "phi-4", "llama-3.1-8b-instruct")
INSTANCE_TYPES = ("Standard_NC24ads_A100_v4", "Standard_NC12s_v3", "Standard_NC96ads_A100_v4")
INTERVAL_SECONDS = 0.02


def sound(number: int) -> str:
    """Return a manifest without errors."""
    return MANIFEST.format(number=number)


def faulty(number: int) -> str:
    """Return a manifest with two unknown keys; two remarks on the output come on top."""
    return _replaced(sound(number), FAULTS)


def varied(number: int) -> str:
    """Return a manifest whose configuration is like no other's."""
    batch = number % 4 + 1
    return _replaced(
        sound(number),
        (
            ("r: 8", f"r: {(8, 16, 32, 64)[number // 7 % 4]}"),
            ("lora_alpha: 8", f"lora_alpha: {8 + number // 57}"),
            ("max_length: 2048", f"max_length: {(512, 1024, 2048)[number // 3 % 3]}"),
            ("batch_size: 1", f"batch_size: {batch}\n        learning_rate: {1e-5 * (1 + number):.5f}"),
            (PRESETS[0], PRESETS[number % 5]),
            (INSTANCE_TYPES[0], INSTANCE_TYPES[number % 3]),
        ),
    )


KINDS = {"faulty": faulty, "sound": sound, "varied": varied}


def _replaced(text: str, replacements: Sequence[tuple[str, str]]) -> str:
    for old, new in replacements:
        text = text.replace(old, new)
    return text


def write_manifests(folder: Path, count: int, manifest: Callable[[int], str]) -> None:
    """Write manifests into a new folder."""
    folder.mkdir()
    for number in range(count):
        (folder / f"m{number:05}.yaml").write_text(manifest(number))


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
    if process.returncode not in (0, 1):
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
    parser.add_argument("--kind", choices=tuple(KINDS), default="faulty", help="what the files hold")
    parser.add_argument("--formats", nargs="+", default=["text"])
    parser.add_argument("--max-growth", type=float, default=None, help="largest ratio of the last peak to the first")
    arguments = parser.parse_args()
    is_flat = True
    print(f"{arguments.kind} manifests\n")
    print("| format | files | seconds | largest process (MiB) | all processes (MiB) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="kaitoc-bench-") as root:
        for count in arguments.counts:
            write_manifests(Path(root) / str(count), count, KINDS[arguments.kind])
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
