"""20,000 damaged manifests through the whole check: `python tests/soak/soak_fuzz.py [COUNT]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from fuzz_check import fuzz

if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    broken = fuzz(range(count))
    for one in broken[:50]:
        sys.stdout.write(f"seed {one.seed}: {one.promise}\n")
    sys.stdout.write(f"{count} manifests, {len(broken)} broken promises\n")
    sys.exit(bool(broken))
