"""Runs kaitoc in this process, and manifests for it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

SEED = """apiVersion: v1
kind: ConfigMap
metadata:
  name: optimized-phi3-tuning
  namespace: kaito
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
        lora_alpha: 8
        target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"]  # attention
      TrainingArguments:
        output_dir: "/mnt/results"
        per_device_train_batch_size: 1
      DataCollator:
        mlm: false
      DatasetConfig:
        shuffle_dataset: true
        train_test_split: 1
"""
SEED_OPTIONS = ["--model", "phi-3-mini-128k-instruct", "--gpu", "A100-80GB"]
CLEAN = SEED.replace('["q_proj", "k_proj", "v_proj", "o_proj"]', '["qkv_proj", "o_proj"]')
CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: tune-params
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: 8
        target_modules: [qkv_proj, o_proj]
      TrainingArguments:
        output_dir: /mnt/results
        per_device_train_batch_size: 2 # sequences
      DatasetConfig:
        train_test_split: 1
      DataCollator:
        mlm: false
"""
SERVER = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: serve-phi-4
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      apps: serve
inference:
  preset:
    name: phi-4-mini-instruct
"""
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tuning, namespace: kaito}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {matchLabels: {app: tuning}}
tuning:
  preset: {name: phi-3-mini-128k-instruct}
  method: qlora
  config: optimized-phi3-tuning
  input: {urls: ["https://example.com/data.json"]}
  output: {image: "registry.example.com/a/b:1", imagePushSecret: push}
"""


def check(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["check", "--isolated", *arguments], input=stdin, env={"GITHUB_ACTIONS": ""})


def kaitoc(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words])
