"""Take every manifest that `kaitoc init` offers through check, compile and check again: nothing may be said of it.

The grid is every tunable model and method on three GPUs in every release; drawn manifests have any of the options.

Usage: python tests/soak/soak_loop.py [DRAWN] [SEED]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compile"))

from loop_cases import drawn_cases, loop_cases, what_is_said


def soak(num_drawn: int, seed: int) -> int:
    cases = [*loop_cases(), *drawn_cases(num_drawn, seed)]
    with tempfile.TemporaryDirectory() as folder:
        heard = {case: said for case in cases if (said := list(what_is_said(case, Path(folder))))}
    for case, said in heard.items():
        print(" ".join(case.words), case.release, case.target, *said, sep="\n    ")
    print(f"{len(cases) - len(heard)} of {len(cases)} manifests pass in silence")
    return 1 if heard else 0


if __name__ == "__main__":
    sys.exit(soak(*(int(word) for word in (sys.argv[1:] + ["300", "1"][len(sys.argv) - 1 :]))))
