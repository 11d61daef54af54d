"""Hold the model of Kaito's parser to the real argparse on many more random configs than the test suite does.

Usage: python tests/soak/soak_arguments.py [CONFIGS_PER_SECTION] [SEED]

It judges by the libraries of the running environment, which are the bundled runtime's. In an environment with another
release's libraries (`schemas/catalog/releases.json`), set KAITOC_SOAK_RELEASE to that release.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "kaito"))

import real_parser

from kaitoc.compiler.kaito.arguments import parse_section


def main() -> int:
    warnings.simplefilter("ignore")
    num_configs = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = sys.argv[2] if len(sys.argv) > 2 else "soak"
    num_wrong, num_accepted, start = 0, 0, time.perf_counter()
    for section in real_parser.SECTIONS:
        rng = random.Random(f"{seed} {section}")
        for _ in range(num_configs):
            entries = real_parser.mutated(rng, section)
            is_accepted = real_parser.real_verdict(section, entries).values is not None
            num_accepted += is_accepted
            if parse_section(section, entries, real_parser.RELEASE).is_accepted != is_accepted:
                num_wrong += 1
                print(f"{section}: the real parser {'accepts' if is_accepted else 'refuses'} {entries!r}")
    total = num_configs * len(real_parser.SECTIONS)
    seconds = time.perf_counter() - start
    print(f"{total} configs, {num_accepted} accepted, {num_wrong} verdicts differ, {seconds:.0f} s")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
