"""Give every command drawn options, alone and together, with values that are sensible and values that are not.

Each command line must end with 0, 1, or with 2 and one line that says why.

Usage: python tests/soak/soak_options.py [LINES] [SEED]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from wrong_usage import complaint, drawn_lines, enter


def main(num_lines: int, seed: int) -> int:
    num_wrong = 0
    enter(Path(tempfile.mkdtemp()))
    for words in drawn_lines(num_lines, seed):
        if said := complaint(words):
            num_wrong += 1
            print(words, said, sep="\n    ", flush=True)
    print(f"{num_lines} command lines, {num_wrong} answered otherwise than in one line")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in (sys.argv[1:] + ["3000", "1"][len(sys.argv) - 1 :]))))
