"""Record what a release's vLLM makes of the KV caches of `pool_cases.py`.

    python tests/oracle/serving_memory/record_pools.py v0.12 --wheel WHEEL --python PYTHON [--path FOLDER]

`WHEEL` is vLLM's wheel from PyPI (`pip download --no-deps`), of which only the Python files are unpacked; `PYTHON` an
interpreter with the libraries that vLLM imports on a CPU, of which `FOLDER` holds more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "serving"))

from pool_cases import case_of, workloads
from record import unpack

from kaitoc.compiler.catalog.releases import find_release

FOLDER = Path(__file__).parent


def main() -> None:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("--wheel", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--path", default="")
    options = parser.parse_args()
    release = find_release(options.release)
    assert release is not None
    cases = "".join(json.dumps(case_of(workload)) + "\n" for workload in workloads(release.vllm))
    with tempfile.TemporaryDirectory() as name:
        unpack(options.wheel, Path(name))
        path = os.pathsep.join(part for part in (name, options.path) if part)
        run = subprocess.run(
            [options.python, str(FOLDER / "vllm_pool.py")], input=cases, text=True, capture_output=True, check=False,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if run.returncode:
        sys.exit(run.stderr)
    (FOLDER / "recordings" / f"{release.name}.jsonl").write_text(run.stdout)
    print(len(run.stdout.splitlines()), "cases")


if __name__ == "__main__":
    main()
