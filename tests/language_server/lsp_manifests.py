"""Manifests that the tests of the language server type in."""

from __future__ import annotations

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tune-phi-3
resource:
  instanceType: Standard_NV36ads_A10_v5
  labelSelector:
    matchLabels:
      app: tune-phi-3
tuning:
  preset:
    name: phi-3-mini-4k-instruct
  method: lora
  config: tune-phi-3-params
  input:
    volumeSource:
      persistentVolumeClaim:
        claimName: tuning-data
  output:
    volumeSource:
      persistentVolumeClaim:
        claimName: tuning-results
"""

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: tune-phi-3-params
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtype: bfloat16
      LoraConfig:
        r: 16
        target_modules: [qkv_proj, o_proj, gate_up_proj, down_proj]
      TrainingArguments:
        output_dir: /mnt/results
        per_device_train_batch_size: 1
        gradient_checkpointing: true
        max_length: 2048
        bf16: true
      DatasetConfig:
        train_test_split: 1
      DataCollator:
        mlm: false
"""

BOTH = f"{CONFIG_MAP}---\n{WORKSPACE}"
WRONG_MODULES = CONFIG_MAP.replace("qkv_proj, o_proj, gate_up_proj", "q_proj, o_proj, gate_proj")
