"""What `kaitoc compile` makes of a recorded `inference_config.yaml`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiling import request_for

RECORDINGS = Path(__file__).parent / "recordings"
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: llama}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {matchLabels: {app: llama}}
inference:
  preset:
    name: meta-llama/Llama-3.1-8B-Instruct
    presetOptions: {modelAccessSecret: hub}
  config: serving
---
apiVersion: v1
kind: ConfigMap
metadata: {name: serving}
data:
  inference_config.yaml: """
"""What the recorder pretends to serve, before the text."""


def manifest_of(text: str) -> str:
    """Return a Workspace and a ConfigMap with a text, which JSON quotes as YAML reads it but for surrogate pairs."""
    return WORKSPACE + re.sub(r"(?:\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})", _astral, json.dumps(text)) + "\n"


def _astral(pair: re.Match[str]) -> str:
    return f"\\U{ord(json.loads(f'{chr(34)}{pair[0]}{chr(34)}')):08x}"


def recorded(release: str, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the texts of a release with what became of them; `kind` is "serving" or "compiled"."""
    path = RECORDINGS / f"{kind}-{release}.jsonl"
    return [tuple(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def compilation(release: str, manifest: str) -> Compilation:
    """Compile a manifest for a release, without a goal."""
    request = request_for(Overrides(kaito_version=release), settings=SettingsFinder(isolated=True))
    return compile_files(["serving.yaml"], request, [Source("serving.yaml", manifest)])


def inner_text(release: str, text: str) -> str | None:
    """Return what is written in place of a text, None where nothing is."""
    result = compilation(release, manifest_of(text))
    if result.is_refused or not result.diff:
        return None
    config_map = list(yaml.safe_load_all(result.files[0].text))[-1]
    return str(config_map["data"]["inference_config.yaml"])
