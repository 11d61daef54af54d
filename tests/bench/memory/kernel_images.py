"""Add up the code that libraries hold for one GPU architecture, which a CUDA context takes that loads all at once.

`python tests/bench/memory/kernel_images.py 80 FILE.so...` prints MiB by library, for compute capability 8.0. Loaded
lazily, as PyTorch asks for, a kernel takes memory when it first runs; a driver that is told to load eagerly, or was
started before PyTorch could ask, loads the images of all libraries into the context.
"""

from __future__ import annotations

import argparse
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
FATBIN_MAGIC = 0xBA55ED50
CUBIN = 2
SECTIONS = (b".nv_fatbin", b"__nv_relfatbin")
ELF_SECTION = struct.Struct("<IIQQQQIIQQ")
FATBIN = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQ12xI8xQ8xQ")
"""Kind, version, header size, padded size, architecture, flags and size once unpacked (0: it is not packed)."""


def fatbin_sections(library: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield where code for GPUs begins and ends in a library."""
    table, entry_size, count, names = struct.unpack_from("<40xQ10xHHH", library)[0:4]
    headers = [ELF_SECTION.unpack_from(library, table + number * entry_size) for number in range(count)]
    for name, _, _, _, offset, size, *_ in headers:
        begin = headers[names][4] + name
        if library[begin : library.find(b"\0", begin)] in SECTIONS:
            yield offset, offset + size


def image_bytes(library: mmap.mmap, architecture: int) -> int:
    """Return the bytes of all images for one architecture."""
    total = 0
    for offset, end in fatbin_sections(library):
        while offset < end:
            magic, _, header_size, size = FATBIN.unpack_from(library, offset)
            if magic != FATBIN_MAGIC:
                offset += 8
                continue
            place, offset = offset + header_size, offset + header_size + size
            while place < offset:
                kind, _, entry_header, padded, built_for, _, unpacked = ENTRY.unpack_from(library, place)
                if (kind, built_for) == (CUBIN, architecture):
                    total += unpacked or padded
                place += entry_header + padded
    return total


def main() -> None:
    """Print the sizes."""
    parser = argparse.ArgumentParser(description="Add up the code that libraries hold for one GPU architecture.")
    parser.add_argument("architecture", type=int, help="compute capability without the dot, such as 80")
    parser.add_argument("libraries", type=Path, nargs="+", help="shared libraries")
    options = parser.parse_args()
    total = 0
    for path in options.libraries:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            size = image_bytes(library, options.architecture)
        total += size
        print(f"{path.name}: {size / MIB:.1f} MiB")
    print(f"all: {total / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
