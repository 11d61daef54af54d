"""What a check loads: nothing heavy, and rules of servers and clusters only where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from checking import CLEAN, SERVER, WORKSPACE

from kaitoc.rules import cluster_rules, serving_rules


def test_a_clean_check_imports_no_heavy_library(tmp_path: Path) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(CLEAN + "---\n" + WORKSPACE)
    code = (
        "import sys\nfrom kaitoc.compiler.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in "
        "{'torch', 'transformers', 'pydantic', 'jsonschema', 'jinja2', 'ruamel', 'rich', 'matplotlib', 'asyncio', "
        "'ssl', 'click', 'dataclasses', 'inspect', 'typing'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "check", "--isolated", str(path)],
        capture_output=True, text=True, check=False, env={**os.environ, "GITHUB_ACTIONS": ""},
    )  # fmt: skip

    assert result.stdout.rstrip().endswith("[]"), result.stdout + result.stderr


RUN = """apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: tune, labels: {kaitoc.dev/plan: "true"}}
spec: {replicatedJobs: []}
"""


def modules_of_a_check(path: Path) -> list[str]:
    """Return the project's modules that a check of a file loads."""
    code = (
        "import json, sys\nfrom kaitoc.compiler.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print()\n"
        "print(json.dumps(sorted(m for m in sys.modules if m.startswith('kaitoc.'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "check", "--isolated", str(path)],
        capture_output=True, text=True, check=False, env={**os.environ, "GITHUB_ACTIONS": ""},
    )  # fmt: skip
    loaded: list[str] = json.loads(result.stdout.splitlines()[-1])
    return loaded


def serving_modules_of_a_check(path: Path) -> list[str]:
    """Return the modules about serving that a check of a file loads: of rules, of jobs and of Kaito's chain."""
    of_rules = {rule.__name__ for rule in serving_rules()} | {"kaitoc.rules._servers", "kaitoc.rules._serving"}
    of_jobs = ("kaitoc.compiler.job.serving_", "kaitoc.compiler.kaito.vllm_", "kaitoc.compiler.kaito.node_",
               "kaitoc.compiler.kaito.controller_arguments")  # fmt: skip
    return [module for module in modules_of_a_check(path) if module in of_rules or module.startswith(of_jobs)]


def cluster_modules_of_a_check(path: Path) -> list[str]:
    """Return the modules about runs of a plan without Kaito that a check of a file loads, the plan's own too."""
    of_rules = {rule.__name__ for rule in cluster_rules()} | {"kaitoc.rules._cluster"}
    of_runs = ("kaitoc.compiler.check.cluster_runs", "kaitoc.compiler.job.cluster_run", "kaitoc.compiler.plan",
               "kaitoc.compiler.manifest.plan_objects")  # fmt: skip
    return [module for module in modules_of_a_check(path) if module in of_rules or module.startswith(of_runs)]


def test_a_check_loads_what_judges_servers_only_for_what_serves(tmp_path: Path) -> None:
    tuned, served = tmp_path / "tune.yaml", tmp_path / "serve.yaml"
    tuned.write_text("# kaitoc: ignore[KT402]\n" + CLEAN + "---\n" + WORKSPACE)
    served.write_text(SERVER)

    assert serving_modules_of_a_check(tuned) == []
    assert len(serving_modules_of_a_check(served)) > len(serving_rules())


def test_a_check_loads_what_judges_runs_of_a_plan_only_for_one(tmp_path: Path) -> None:
    tuned, run = tmp_path / "tune.yaml", tmp_path / "run.yaml"
    tuned.write_text(CLEAN + "---\n" + WORKSPACE)
    run.write_text(RUN)

    assert cluster_modules_of_a_check(tuned) == []
    assert len(cluster_modules_of_a_check(run)) > len(cluster_rules())
