"""AdmissionReviews for tests, around small objects."""

from __future__ import annotations

import json
from typing import Any

WORKSPACE: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "tuning", "namespace": "ml"},
    "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"app": "tuning"}}},
    "tuning": {
        "preset": {"name": "phi-3-mini-128k-instruct"},
        "method": "qlora",
        "config": "tuning-config",
        "input": {"urls": ["https://example.com/data.json"]},
        "output": {"image": "registry.example.com/adapters/phi:0.0.1", "imagePushSecret": "push"},
    },
}
TRAINING_CONFIG = """training_config:
  ModelConfig:
    torch_dtype: "bfloat16"
  QuantizationConfig:
    load_in_4bit: true
    bnb_4bit_quant_type: "nf4"
    bnb_4bit_compute_dtype: "bfloat16"
    bnb_4bit_use_double_quant: true
  LoraConfig:
    r: 8
    target_modules: ["qkv_proj", "o_proj"]  # fused on Phi-3
  TrainingArguments:
    output_dir: "/mnt/results"
    per_device_train_batch_size: 1
    max_length: 1024
  DataCollator:
    mlm: false
  DatasetConfig:
    train_test_split: 1
"""


def config_map(training_config: str = TRAINING_CONFIG, name: str = "tuning-config") -> dict[str, Any]:
    """Return a ConfigMap with a training config."""
    metadata = {"name": name, "namespace": "ml"}
    data = {"training_config.yaml": training_config}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def workspace(**changes: Any) -> dict[str, Any]:
    """Return a tuning Workspace; `changes` replace fields of `tuning`, those that are None are left out."""
    tuning = {key: value for key, value in {**WORKSPACE["tuning"], **changes}.items() if value is not None}
    return {**WORKSPACE, "tuning": tuning}


def serving_config_map(inference_config: str) -> dict[str, Any]:
    """Return a ConfigMap with an inference config."""
    metadata = {"name": "serving-config", "namespace": "ml"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {"inference_config.yaml": inference_config}}  # fmt: skip


def serving_workspace() -> dict[str, Any]:
    """Return a Workspace that serves with the ConfigMap of `serving_config_map`."""
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": "serving", "namespace": "ml"},
        "resource": WORKSPACE["resource"],
        "inference": {"preset": {"name": "phi-4-mini-instruct"}, "config": "serving-config"},
    }


def inference_set() -> dict[str, Any]:
    """Return an InferenceSet that names the ConfigMap of `serving_config_map`."""
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "InferenceSet",
        "metadata": {"name": "serving", "namespace": "ml"},
        "spec": {
            "replicas": 1,
            "labelSelector": {"matchLabels": {"app": "serving"}},
            "template": {
                "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
                "inference": {"preset": {"name": "phi-4-mini-instruct"}, "config": "serving-config"},
            },
        },
    }


def multi_role_inference() -> dict[str, Any]:
    """Return a MultiRoleInference whose roles name the ConfigMap of `serving_config_map`."""
    roles = [{"type": role, "replicas": 1, "instanceType": "Standard_NC24ads_A100_v4",
              "runtimeConfig": "serving-config"} for role in ("prefill", "decode")]  # fmt: skip
    return {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "MultiRoleInference",
        "metadata": {"name": "serving", "namespace": "ml"},
        "spec": {"model": {"name": "phi-4-mini-instruct"}, "roles": roles},
    }


def review(content: dict[str, Any] | None, operation: str = "CREATE", old: dict[str, Any] | None = None) -> bytes:
    """Return an AdmissionReview of an object."""
    subject = content or old or {}
    group, _, version = subject["apiVersion"].rpartition("/")
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": version, "kind": subject["kind"]},
        "operation": operation,
        "namespace": "ml",
        "name": subject["metadata"].get("name", ""),
        "object": content,
        "oldObject": old,
        "dryRun": False,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
