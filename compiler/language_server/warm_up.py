"""What the first answer needs is loaded before it is asked for: catalogs, tables of options, a memory derivation."""

from __future__ import annotations

from lsprotocol import types

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.language_server.documents import Checker, read_document
from kaitoc.compiler.language_server.hover import hover_at

_KEY = "max_length"
_TEXT = f"""\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning
resource:
  instanceType: Standard_NC24ads_A100_v4
tuning:
  method: qlora
  preset:
    name: phi-4-mini-instruct
  config: tuning
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning
data:
  training_config.yaml: |
    training_config:
      QuantizationConfig:
        load_in_4bit: true
      LoraConfig:
        r: 8
        target_modules: [qkv_proj, o_proj, gate_up_proj, down_proj]
      TrainingArguments:
        {_KEY}: 1024
"""


def warm_up(checker: Checker) -> None:
    """Hover over a manifest of our own; what is wrong with the settings is told by the first check."""
    document = read_document("untitled:warm-up", 0, _TEXT, "utf-16")
    try:
        engine = checker.engine((document,), names_sought=("tuning",))
        hover_at(engine, document, (document,), _TEXT.index(_KEY), types.MarkupKind.PlainText)
    except KaitocError:
        return
