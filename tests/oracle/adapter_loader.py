"""Loads adapters with a release's own PEFT and transformers; runs in its environment and imports nothing of kaitoc.

Usage: python adapter_loader.py FOLDER. Each folder in it holds a `base`, an `adapter` and the `expected.pt` logits.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def verdict(folder: Path) -> dict[str, object]:
    """The largest difference of an adapter's logits, and what it changes; or why it does not load."""
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
    ids = torch.arange(5, 37).unsqueeze(0)
    with torch.no_grad():
        before = base(ids).logits
    try:
        model = PeftModel.from_pretrained(base, str(folder / "adapter")).eval()
    except Exception as error:  # whatever it is, it is the verdict
        return {"error": f"{type(error).__name__}: {error}"}
    expected = torch.load(folder / "expected.pt")
    with torch.no_grad():
        logits = model(ids).logits
    return {
        "difference": float((logits - expected).abs().max()),
        "effect": round(float((before - expected).abs().max()), 3),
    }


def main() -> None:
    """Print a line of JSON per adapter."""
    versions = {name: version(name) for name in ("peft", "transformers")}
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        sys.stdout.write(json.dumps({"folder": folder.name, **versions, **verdict(folder)}) + "\n")


if __name__ == "__main__":
    main()
