"""Hold compiled manifests to their laws on many more random manifests than the test suite does.

Usage: python tests/soak/soak_compile.py [MANIFESTS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "compile"))

import test_compile_properties


def main() -> int:
    num_manifests, start = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000, time.perf_counter()
    law = test_compile_properties.test_any_manifest_settles_passes_and_is_untouched_elsewhere.hypothesis.inner_test
    phases = (Phase.generate, Phase.shrink)
    run = given(drawn=test_compile_properties.manifests(), bom=st.booleans())(law)
    settings(
        max_examples=num_manifests, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
    )(run)()
    print(f"{num_manifests} manifests, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
