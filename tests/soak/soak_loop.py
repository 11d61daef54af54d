"""Take every manifest that `kaitoc init` offers through check, compile and check again: nothing may be said of it.

Usage: python tests/soak/soak_loop.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compile"))

from loop_cases import loop_cases, what_is_said


def soak() -> int:
    cases = loop_cases()
    with tempfile.TemporaryDirectory() as folder:
        heard = {case: said for case in cases if (said := list(what_is_said(case, Path(folder))))}
    for case, said in heard.items():
        print(case, *said, sep="\n    ")
    print(f"{len(cases) - len(heard)} of {len(cases)} manifests pass in silence")
    return 1 if heard else 0


if __name__ == "__main__":
    sys.exit(soak())
