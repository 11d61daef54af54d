"""What cannot be compiled: which constraint binds, by how much, what would lift it; exit 1, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_compile import SEED_CASE, config_map, workspace

from kaitoc.compiler.cli import cli

BINDING = r"needs at least [\d.]+ GiB \((\w+): [\d.]+ GiB\); one (\S+) has [\d.]+ GiB.*: [\d.]+ GiB too much"


def compiled_in_place(folder: Path, text: str, *words: str) -> Result:
    """Compile a file in place; whatever happens, a refusal leaves it and its folder as they were."""
    path = folder / "tune.yaml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["compile", str(path), "--in-place", "--isolated", *words])
    if result.exit_code != 0:
        assert path.read_text(encoding="utf-8") == text
        assert list(folder.iterdir()) == [path]
    return result


def manifest(preset: str, length: int, instance: str = "Standard_NC24ads_A100_v4") -> str:
    return f"{workspace(instance=instance, preset=preset)}---\n{config_map(SEED_CASE.replace('3500', str(length)))}"


def test_a_run_that_fits_on_no_known_gpu(tmp_path: Path) -> None:
    text = manifest("qwen2.5-coder-32b-instruct", 32768).replace("bfloat16", "float32")

    result = compiled_in_place(tmp_path, text, "--preserve", "any", "--seq-len", "32768")

    assert result.exit_code == 1
    assert re.search(BINDING, result.stderr)
    assert "it fits on no known GPU" in result.stderr


def test_a_run_that_a_larger_instance_takes_names_it(tmp_path: Path) -> None:
    result = compiled_in_place(tmp_path, manifest("phi-4", 2048, "Standard_NV36ads_A10_v5"))

    found = re.search(BINDING, result.stderr)
    assert result.exit_code == 1
    assert found is not None
    assert found.groups() == ("weights", "A10-24GB")
    assert re.search(r"it fits on Standard_\w+ \(--allow-workspace-edits\)", result.stderr)


def test_a_bound_on_the_result_that_forbids_all_that_fits_is_named(tmp_path: Path) -> None:
    case = Path(__file__).parents[1] / "passes" / "fit" / "paged_optimizer" / "before.yaml"
    text = case.read_text(encoding="utf-8").replace("max_length: 3500", "max_length: 6000")

    refused = compiled_in_place(tmp_path, text, "--preserve", "exact")
    allowed = compiled_in_place(tmp_path, text)

    assert (refused.exit_code, allowed.exit_code) == (1, 0)
    assert re.search(BINDING, refused.stderr)
    assert "--preserve statistical finds a configuration that fits" in refused.stderr


def test_runs_that_share_a_config_map_and_cannot_all_fit_are_named(tmp_path: Path) -> None:
    small = workspace("small", "Standard_NV36ads_A10_v5", "phi-4")
    text = f"{small}---\n{workspace('large', preset='phi-4')}---\n{config_map(SEED_CASE)}"

    result = compiled_in_place(tmp_path, text)

    assert result.exit_code == 1
    assert re.search(f"small {BINDING}", result.stderr)
    assert "large needs" not in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("phi-4-mini-instruct", "llama-3.1-8b-instruct", "llama-3.1-8b-instruct"),
        ("Standard_NC24ads_A100_v4", "Standard_NC6s_v3", "Standard_NC6s_v3"),
        ("kind: Workspace", "kind: Workspace\nkinds: Workspace", "kinds"),
        ("mlm: true", "mlm: [true", "flow"),
    ],
)
def test_errors_that_no_pass_repairs_are_named_with_their_place(tmp_path: Path, old: str, new: str, named: str) -> None:
    result = compiled_in_place(tmp_path, manifest("phi-4-mini-instruct", 2048).replace(old, new))

    assert result.exit_code == 1
    assert re.search(r"tune\.yaml:\d+:\d+: KT\d{3}", result.stderr)
    assert named in result.stderr
    assert "nothing written: resolve the errors above first" in result.stderr


@pytest.mark.parametrize("is_moved", [False, True])
def test_an_error_that_is_left_stands_where_check_finds_it(tmp_path: Path, is_moved: bool) -> None:
    inner = SEED_CASE.replace("    max_length: 3500\n", "    max_length: 3500\n    optim: adamw_none\n")
    inner = inner.replace("    r: 8\n", "    inference_mode: true\n    r: 8\n")
    documents = [workspace(), config_map(inner)]
    text = "---\n".join(documents if is_moved else reversed(documents))

    refused = compiled_in_place(tmp_path, text)
    checked = CliRunner().invoke(cli, ["check", "-f", "concise", "--isolated", str(tmp_path / "tune.yaml")])

    (told,) = re.findall(r"tune\.yaml:(\d+:\d+): KT204", refused.stderr)
    assert f"tune.yaml:{told}: KT204 error" in checked.stdout
    assert (": KT340 warning" in checked.stdout) is is_moved
