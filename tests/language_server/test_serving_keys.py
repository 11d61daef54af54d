"""What the editor offers and shows inside an `inference_config.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsp_editor import Editor, at
from test_completion import HERE, Typing

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.kaito.vllm_options import serving_table

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: serving
data:
  inference_config.yaml: |
    max_probe_steps: 6
    vllm:
      max_num_seqs: 8
      kv-cache-dtype: auto
      no-enable-lora: true
"""
RELEASE = newest_release()


def typed(editor: Editor, folder: Path, old: str, new: str) -> Typing:
    return Typing(editor, folder / "new.yaml", CONFIG_MAP.replace(old, new))


def test_options_are_offered_without_those_that_are_there_in_either_spelling(editor: Editor, tmp_path: Path) -> None:
    found = typed(editor, tmp_path, "      no-enable-lora: true\n", f"      {HERE}\n")

    assert found.labels >= {"max-model-len", "no-enable-lora", "enable-lora"}
    assert not {"max-num-seqs", "kv-cache-dtype", "vllm"} & found.labels
    assert "\n      max-model-len: \n" in found.take("max-model-len")


def test_what_the_launcher_reads_is_offered_above_the_options(editor: Editor, tmp_path: Path) -> None:
    found = typed(editor, tmp_path, "    max_probe_steps: 6\n", f"    {HERE}\n")

    assert found.labels == {"max_probe_steps", "kv_cache_cpu_memory_utilization"}


def test_a_choice_offers_its_values(editor: Editor, tmp_path: Path) -> None:
    option = serving_table(RELEASE.name).option("kv-cache-dtype")
    assert option is not None

    assert typed(editor, tmp_path, "dtype: auto", f"dtype: {HERE}").labels == set(option.choices)


def test_an_option_of_another_release_is_not_offered(tmp_path: Path) -> None:
    editor = Editor("--isolated", "--kaito-version", "v0.10")
    assert "swap-space" in typed(editor, tmp_path, "no-enable-lora: true", HERE).labels
    assert editor.quit() == 0

    assert serving_table(RELEASE.name).option("swap-space") is None


def test_a_plain_config_is_completed_as_one_in_a_config_map(editor: Editor, tmp_path: Path) -> None:
    found = Typing(editor, tmp_path / "inference_config.yaml", f"vllm:\n  max-model-len: 1\n  max-n{HERE}\n")

    assert "max-num-seqs" in found.labels
    assert "max-model-len" not in found.labels


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("max_num_seqs", f"**max-num-seqs** (vLLM {RELEASE.vllm}, Kaito {RELEASE.name})\n\nTakes a whole number"),
        ("auto", f"**kv-cache-dtype** (vLLM {RELEASE.vllm}, Kaito {RELEASE.name})\n\nTakes one of auto, "),
        (
            "no-enable-lora",
            f"**no-enable-lora** (vLLM {RELEASE.vllm}, Kaito {RELEASE.name})\n\nTurns `enable-lora` off",
        ),
        ("max_probe_steps", f"**max_probe_steps** (Kaito {RELEASE.name})\n\nWithout effect"),
        ("vllm", f"**vllm** (Kaito {RELEASE.name})\n\nOptions of vLLM's server"),
    ],
)
def test_a_key_shows_what_it_is(editor: Editor, tmp_path: Path, place: str, shown: str) -> None:
    uri = editor.open(tmp_path / "new.yaml", CONFIG_MAP)
    assert editor.hover(uri, at(CONFIG_MAP, place)).startswith(shown)


def test_a_key_that_vllm_does_not_have_shows_nothing(editor: Editor, tmp_path: Path) -> None:
    text = CONFIG_MAP.replace("max_num_seqs", "max_nom_seqs")
    assert editor.hover(editor.open(tmp_path / "new.yaml", text), at(text, "max_nom_seqs")) == ""
