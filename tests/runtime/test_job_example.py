"""The example Job and Dockerfile say what the runtime takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "examples" / "job"
pytestmark = pytest.mark.runtime


def pod() -> dict[str, Any]:
    return dict(yaml.safe_load((JOB / "job.yaml").read_text())["spec"]["template"]["spec"])


def test_every_mount_of_the_job_has_its_volume() -> None:
    (container,) = pod()["containers"]

    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod()["volumes"]}


def test_the_job_has_shared_memory_and_growing_segments() -> None:
    (container,) = pod()["containers"]
    memory = [volume["emptyDir"] for volume in pod()["volumes"] if "emptyDir" in volume]

    assert {"name": "PYTORCH_CUDA_ALLOC_CONF", "value": "expandable_segments:True"} in container["env"]
    assert memory == [{"medium": "Memory"}]
    assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108  (the pod's)


def test_the_runtime_takes_the_job_s_arguments(tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    missing = str(tmp_path / "plan.json")
    arguments = [missing if argument.endswith("plan.json") else argument for argument in container["args"]]

    result = subprocess.run(
        [sys.executable, "-m", "kaitoc.runtime", *arguments], capture_output=True, text=True, check=False,
        env={**os.environ},
    )  # fmt: skip

    assert result.returncode == 2
    assert missing in result.stderr
    assert "usage" not in result.stderr


def test_the_dockerfile_copies_what_is_there() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (JOB / "Dockerfile").read_text(), re.MULTILINE)

    names = [name for line in copied for name in line.split()]
    assert {"kaitoc", "compiler", "rules", "runtime", "schemas", "pyproject.toml", "constraints.txt"} <= set(names)
    assert all((ROOT / name).exists() for name in names)
