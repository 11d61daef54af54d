"""Values that no run can have, which YAML reads all the same: each ends in a verdict, not in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
HUGE = "1" + "0" * 400
KEYS = [
    ("LoraConfig", "r"),
    ("LoraConfig", "lora_alpha"),
    ("TrainingArguments", "per_device_train_batch_size"),
    ("TrainingArguments", "gradient_accumulation_steps"),
]


@pytest.fixture
def manifest(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The demo's manifest with a key set to an integer of 401 digits."""
    section, key = request.param
    lines = [line for line in DEMO.read_text().splitlines() if not line.strip().startswith(f"{key}:")]
    place = next(index for index, line in enumerate(lines) if line.strip() == f"{section}:")
    indent = len(lines[place]) - len(lines[place].lstrip())
    lines.insert(place + 1, " " * (indent + 2) + f"{key}: {HUGE}")
    path = tmp_path / "huge.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.mark.parametrize("manifest", KEYS, indirect=True, ids=[key for _, key in KEYS])
def test_an_integer_of_four_hundred_digits_is_judged(manifest: Path) -> None:
    assert run("check", "--isolated", str(manifest)).exit_code in (0, 1)
    assert run("compile", "--isolated", "--diff", str(manifest)).exit_code in (0, 1)


@pytest.mark.parametrize("manifest", [KEYS[2]], indirect=True)
def test_a_batch_past_every_memory_does_not_fit(manifest: Path) -> None:
    report = json.loads(run("check", "--isolated", "--format", "json", "--gpu", "A100-80GB", str(manifest)).stdout)

    assert [job["fits"] for job in report["jobs"]] == [False]
