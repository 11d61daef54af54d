"""The names of what a run writes into its output folder."""

from __future__ import annotations

ADAPTER = "adapter"
MODEL = "model"
MERGED = "merged"
IMAGE = "image"
CHECKPOINTS = "checkpoints"
CARD = "README.md"
METRICS = "metrics.jsonl"
REPORT = "report.json"
PAGE = "report.html"
PLAN_FILE = "plan.json"
COMPLETED = "fine_tuning_completed.txt"
"""The file that Kaito's pusher waits for before it uploads the adapter."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What Kaito's pusher takes from beside the marker."""
ROOT_FILES = (METRICS, REPORT, PAGE, PLAN_FILE, COMPLETED, *ADAPTER_FILES)
