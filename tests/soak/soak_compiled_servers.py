"""Compile every recorded text of a server, held to the recording of the real parser, and servers drawn at random.

Usage: python tests/soak/soak_compiled_servers.py [STRIDE] [DRAWN]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))
sys.path.insert(0, str(Path(__file__).parents[1] / "compile"))

from test_compile_servers_properties import hold_laws
from test_compiled_recordings import RELEASES, needlessly_refused, unaccepted, unsettled

FIRST_SEED = 1000
"""The test suite draws those before it."""


def main() -> int:
    stride, start, num_faults = int(sys.argv[1]) if len(sys.argv) > 1 else 1, time.perf_counter(), 0
    for release in RELEASES:
        for law in (unaccepted, needlessly_refused, unsettled):
            faults = law(release, stride)
            num_faults += len(faults)
            print(f"{release}: {law.__name__}: {len(faults)}", *map(repr, faults), sep="\n  ")
    for seed in range(FIRST_SEED, FIRST_SEED + (int(sys.argv[2]) if len(sys.argv) > 2 else 500)):
        try:
            hold_laws(seed)
        except AssertionError as error:
            num_faults += 1
            print(f"seed {seed}: {error}")
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
