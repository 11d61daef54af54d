"""Compile every recorded text of a server, and hold what is written to the recording of the real parser.

Usage: python tests/soak/soak_compiled_servers.py [STRIDE]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))

from test_compiled_recordings import RELEASES, needlessly_refused, unaccepted, unsettled


def main() -> int:
    stride, start, num_faults = int(sys.argv[1]) if len(sys.argv) > 1 else 1, time.perf_counter(), 0
    for release in RELEASES:
        for law in (unaccepted, needlessly_refused, unsettled):
            faults = law(release, stride)
            num_faults += len(faults)
            print(f"{release}: {law.__name__}: {len(faults)}", *map(repr, faults), sep="\n  ")
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
