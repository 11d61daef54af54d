"""Servers written for a test: a Workspace with what a case changes of it, and its ConfigMap."""

from __future__ import annotations

from collections.abc import Sequence

MODEL, INSTANCE = "llama-3.1-8b-instruct", "Standard_NC24ads_A100_v4"
_WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: server
resource:
  instanceType: {instance}
  labelSelector:
    matchLabels:
      app: server
inference:
  preset:
    name: {model}
    presetOptions:
      modelAccessSecret: hub
  config: serving
"""
_CONFIG_MAP = """---
apiVersion: v1
kind: ConfigMap
metadata:
  name: serving
data:
  inference_config.yaml: |
"""


def server_manifest(config: Sequence[str], model: str = MODEL, instance: str = INSTANCE) -> str:
    """Return a server's Workspace with a ConfigMap of these lines."""
    inner = "".join(f"    {line}\n" if line else "\n" for line in config)
    return _WORKSPACE.format(model=model, instance=instance) + _CONFIG_MAP + inner
