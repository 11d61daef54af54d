"""The hooks of `.pre-commit-hooks.yaml`, run by the real pre-commit in a git repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HOOKS = Path(__file__).resolve().parents[2] / ".pre-commit-hooks.yaml"
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {matchLabels: {app: tuning}}
tuning:
  preset: {name: phi-3-mini-128k-instruct}
  method: qlora
  config: tuning-config
  input: {urls: ["https://example.com/data.json"]}
  output: {image: "registry.example.com/adapters/phi:0.0.1", imagePushSecret: push}
"""
CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning-config
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtype: "bfloat16"
      QuantizationConfig:
        load_in_4bit: true
        bnb_4bit_quant_type: "nf4"
        bnb_4bit_compute_dtype: "bfloat16"
        bnb_4bit_use_double_quant: true
      LoraConfig:
        r: 8
        target_modules: ["qkv_proj", "o_proj"]  # what Phi-3 calls them
      TrainingArguments:
        output_dir: "/mnt/results"
        per_device_train_batch_size: 1
        max_length: 1024
      DataCollator:
        mlm: false
      DatasetConfig:
        train_test_split: 1
"""
MISSPELT = CONFIG_MAP.replace("torch_dtype", "torch_dtpe")
SPLIT_TARGETS = CONFIG_MAP.replace('["qkv_proj", "o_proj"]', '["q_proj", "k_proj", "v_proj", "o_proj"]')


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with the hooks as they are, but for the environment that they run in."""
    hooks = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    for hook in hooks:
        hook["language"] = "system"
    config = {"repos": [{"repo": "local", "hooks": hooks}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.email", "a@example.com")
    git(tmp_path, "config", "user.name", "a")
    return tmp_path


def environment(repository: Path) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PRE_COMMIT_HOME": str(repository.parent / "pre-commit-home"), "GITHUB_ACTIONS": ""}  # fmt: skip


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True)


def run_hook(repository: Path, hook: str, **files: str) -> subprocess.CompletedProcess[str]:
    """Write and stage files, and run one hook on what is staged."""
    for name, text in files.items():
        (repository / f"{name}.yaml").write_text(text)
        git(repository, "add", f"{name}.yaml")
    command = [sys.executable, "-m", "pre_commit", "run", hook]
    return subprocess.run(command, cwd=repository, env=environment(repository), capture_output=True, text=True)


def test_clean_manifests_pass(repository: Path) -> None:
    result = run_hook(repository, "kaitoc-check", workspace=WORKSPACE, config=CONFIG_MAP)
    assert result.returncode == 0, result.stdout


def test_a_fault_stops_the_commit_at_its_line(repository: Path) -> None:
    result = run_hook(repository, "kaitoc-check", workspace=WORKSPACE, config=MISSPELT)
    assert result.returncode == 1
    assert "KT202" in result.stdout
    assert "config.yaml:9:9" in result.stdout


def test_the_partner_of_a_single_staged_file_is_found_on_disk(repository: Path) -> None:
    (repository / "workspace.yaml").write_text(WORKSPACE.replace("method: qlora", "method: lora"))
    result = run_hook(repository, "kaitoc-check", config=CONFIG_MAP)
    assert result.returncode == 1
    assert "KT302" in result.stdout


def test_a_target_module_that_the_model_lacks_stops_the_commit(repository: Path) -> None:
    result = run_hook(repository, "kaitoc-check", workspace=WORKSPACE, config=SPLIT_TARGETS)
    assert result.returncode == 1
    assert "KT401" in result.stdout


def test_a_hook_that_passes_prints_its_infos(repository: Path) -> None:
    config = CONFIG_MAP.replace("max_length: 1024", "max_length: 1024\n        bf16: false")
    result = run_hook(repository, "kaitoc-check", workspace=WORKSPACE, config=config)
    assert result.returncode == 0
    assert "info" in result.stdout


def test_yaml_of_others_passes(repository: Path) -> None:
    assert run_hook(repository, "kaitoc-check", values="a: [1, 2]\n").returncode == 0


def test_fix_rewrites_and_then_passes(repository: Path) -> None:
    first = run_hook(repository, "kaitoc-fix", workspace=WORKSPACE, config=SPLIT_TARGETS)
    assert first.returncode == 1
    assert "files were modified by this hook" in first.stdout
    text = (repository / "config.yaml").read_text()
    assert 'target_modules: ["qkv_proj", "o_proj"]  # what Phi-3 calls them' in text

    assert run_hook(repository, "kaitoc-fix", config=text).returncode == 0


def test_compile_rewrites_and_then_passes(repository: Path) -> None:
    first = run_hook(repository, "kaitoc-compile", workspace=WORKSPACE, config=SPLIT_TARGETS)
    assert first.returncode == 1
    text = (repository / "config.yaml").read_text()
    assert "qkv_proj" in text

    assert run_hook(repository, "kaitoc-compile", config=text).returncode == 0


def test_compile_leaves_yaml_of_others_alone(repository: Path) -> None:
    result = run_hook(repository, "kaitoc-compile", values="a: [1, 2]\n")
    assert result.returncode == 0, result.stdout
